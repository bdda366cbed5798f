"""This machine as a device: what it has is there, what it lacks is not."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from devices.system import SystemDevice
from gateway.core.contracts import Context, Endpoint
from gateway.io import raspberry


def device(root: Path = Path("/"), **facts: Any) -> SystemDevice:
    context = Context("gw", "berrygate", Path("/tmp"), Endpoint(), lambda event: None, facts=facts)
    return SystemDevice("pi", 0.05, context, root)


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


async def test_first_reading_is_whole_and_others_follow() -> None:
    bursts = device().listen()
    first = await asyncio.wait_for(anext(bursts), 5)
    assert first.readings is not None
    values = first.readings[0].values
    for metric in ("cpu.percent", "cpu.0.percent", "memory.percent", "disk.root.percent", "load.1",
                   "uptime", "gateway.memory.rss", "gateway.threads"):  # fmt: skip
        assert isinstance(values[metric], float), metric
    assert 0 < float(values["memory.percent"]) < 100
    second = await asyncio.wait_for(anext(bursts), 5)
    assert second.readings is not None
    assert second.readings[0].time > first.readings[0].time
    assert any(name.endswith(".rx") for name in second.readings[0].values)


def test_the_brokers_process_is_watched_while_there_is_one() -> None:
    assert "broker.memory.rss" not in device().sample()
    assert "broker.memory.rss" in device(broker_pid=os.getpid).sample()


def test_what_a_machine_lacks_is_left_out(tmp_path: Path) -> None:
    values = device(tmp_path).sample()
    assert not [name for name in values if name.startswith(("temperature", "throttled", "under"))]
    assert not [name for name in values if name.startswith("connections")]
    assert "memory.percent" in values


def test_temperature_and_power_of_a_pi(tmp_path: Path) -> None:
    lay(tmp_path, {
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "",  # refuses to be read
        "sys/class/thermal/thermal_zone1/type": "broken\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    })  # fmt: skip
    values = device(tmp_path).sample()
    assert values["temperature.cpu-thermal"] == 48.312
    assert values["undervoltage.now"] is True
    assert values["throttled.now"] is True
    assert values["undervoltage.seen"] is True
    assert values["frequency_capped.now"] is False
    assert device(tmp_path).info()["model"] == "Raspberry Pi 4 Model B Rev 1.4"


def test_vcgencmd_is_asked_where_there_is_no_file(tmp_path: Path) -> None:
    command = tmp_path / "usr/bin/vcgencmd"
    lay(tmp_path, {"usr/bin/vcgencmd": "#!/bin/sh\necho throttled=0x50000\n"})
    command.chmod(0o755)
    found = raspberry.throttled(tmp_path)
    assert found["undervoltage.seen"] is True
    assert found["undervoltage.now"] is False
    command.write_text("#!/bin/sh\nexit 1\n")
    assert raspberry.throttled(tmp_path) == {}


def test_connections_are_counted_by_state(tmp_path: Path) -> None:
    line = " 0: 0100007F:1F90 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 1"
    rows = "\n".join(
        ["  sl  local_address", line.format("0A"), line.format("01"), line.format("01")]
    )
    values = device(lay(tmp_path, {"proc/net/tcp": rows})).sample()
    assert values["connections.listen"] == 1.0
    assert values["connections.established"] == 2.0


def test_one_failing_probe_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> Any:
        raise OSError("no such thing")

    monkeypatch.setattr("psutil.disk_partitions", broken)
    machine = device()
    for _ in range(3):
        values = machine.sample()
    assert "memory.percent" in values
    assert not [name for name in values if name.startswith("disk.")]
    assert caplog.text.count("no disks") == 1  # told once, not each second
