"""Drivers by name, from entry points; a stranger's as ours."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import registry
from gateway.config import InvalidConfig, loads, schema
from gateway.core.errors import ConfigError

STRANGER = """
from typing import Literal
from gateway.core.settings import DeviceSettings

class WindSettings(DeviceSettings):
    '''Wind.'''
    type: Literal["wind"] = "wind"
    '''Which driver.'''
    mast: int = 3
    '''Which mast.'''

NOT_ONE = 5
"""
ENTRIES = """[berrygate.devices]
wind = stranger_wind:WindSettings
gone = stranger_wind:Gone
number = stranger_wind:NOT_ONE
absent = stranger_absent:Settings
needy = stranger_needy:Settings
broken = stranger_broken:Settings
ours = gateway.nowhere:Settings
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of somebody else's, as pip leaves it."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "stranger_wind.py").write_text(STRANGER)
    (tmp_path / "stranger_needy.py").write_text("import no_such_thing.at_all")
    (tmp_path / "stranger_broken.py").write_text("raise ImportError('libwind.so.1: not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def test_known() -> None:
    assert registry.known(registry.DEVICES) == [
        "coap", "gpio", "i2c", "modbus", "mqtt", "onewire", "serial", "system",
    ]  # fmt: skip
    assert registry.known(registry.BRIDGES) == ["influxdb", "mqtt"]
    assert registry.known(registry.CODECS) == [
        "cbor", "csv", "json", "line", "msgpack", "nmea", "senml", "sparkplug", "struct", "text",
    ]  # fmt: skip


def test_each_known_driver_says_its_own_name() -> None:
    for group in (registry.DEVICES, registry.BRIDGES, registry.CODECS):
        for name in registry.known(group):
            assert registry.resolve(group, name).model_fields["type"].default == name


def test_only_what_is_asked_for_is_imported() -> None:
    code = (
        "import sys\nfrom gateway import registry as r\n"
        "drivers = lambda: [m for m in sys.modules if m.startswith(('devices.', 'bridges.'))]\n"
        "r.known(r.DEVICES), r.known(r.BRIDGES); print(drivers())\n"
        "r.resolve(r.DEVICES, 'system'); print(drivers())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['devices.system']"]


def test_unknown_names_offer_the_nearest_and_all() -> None:
    known = ", ".join(registry.known(registry.DEVICES))
    with pytest.raises(ConfigError, match=rf'unknown device type "mqt" \(known: {known}\)') as e:
        registry.resolve(registry.DEVICES, "mqt")
    assert e.value.fix == "type: mqtt"


def test_a_missing_extra_is_one_friendly_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "influxdb_client", None)
    monkeypatch.delitem(sys.modules, "bridges.influxdb", raising=False)
    with pytest.raises(ConfigError) as error:
        registry.resolve(registry.BRIDGES, "influxdb")
    assert str(error.value) == "'influxdb' needs: pip install berrygate[influxdb]"
    with pytest.raises(InvalidConfig) as invalid:
        loads("bridges:\n- type: influxdb\n")
    (problem,) = invalid.value.problems
    assert (problem.line, problem.column, problem.fix) == (
        2, 9, "pip install berrygate[influxdb]",
    )  # fmt: skip
    assert "InfluxdbSettings" not in schema()["$defs"]


def test_pyserial_is_asked_for_and_not_taken_for_our_own_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    for name in ("devices.serial", "gateway.io.serial.port", "gateway.io.serial.line"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError) as error:
        registry.resolve(registry.DEVICES, "serial")
    assert str(error.value) == "'serial' needs: pip install berrygate[serial]"


@pytest.mark.usefixtures("stranger")
def test_a_stranger_is_as_good_as_ours() -> None:
    assert "wind" in registry.known(registry.DEVICES)
    (device,) = loads("devices: [{type: wind, mast: 7}]").devices
    assert device.mast == 7  # type: ignore[attr-defined]
    with pytest.raises(InvalidConfig, match='unknown key "mats"'):
        loads("devices: [{type: wind, mats: 7}]")
    assert "WindSettings" in schema()["$defs"]


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "'gone' cannot be loaded: .*Gone"),
        ("number", "'number' is not a settings class"),
        ("absent", "'absent' needs the Python module stranger_absent"),
        ("needy", "'needy' needs the Python module no_such_thing"),
        ("broken", "'broken' cannot be loaded: libwind.so.1"),
        ("ours", "'ours' is not all there: no module gateway.nowhere"),
    ],
)
def test_a_driver_that_does_not_load_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.resolve(registry.DEVICES, name)
    with pytest.raises(InvalidConfig, match=message):
        loads(f"devices: [{{type: {name}}}]")
