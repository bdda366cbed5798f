"""What a file comes to."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.config import Config, InvalidConfig, find, load, loads, models
from gateway.config.scalars import plain

PROJECT = Path(__file__).parents[2]
SECRETS = {
    "INFLUX_TOKEN": "123456",
    "INFLUX_PASSWORD": "0815",
    "NEIGHBOUR_PASSWORD": "x",
    "MQTT_PASSWORD": "y",
    "NTFY_TOPIC": "greenhouse",
    "MAIL_PASSWORD": "z",
}


def test_default_file_is_the_built_in_configuration() -> None:
    assert load(PROJECT / "config/default.yaml", {}) == load(None)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "~", "journal:\napi:\n"])
def test_nothing_is_the_built_in_configuration(text: str) -> None:
    assert loads(text) == load(None)
    assert list(loads(text).named_devices) == ["pi", "mqtt"]


@pytest.mark.parametrize("path", sorted((PROJECT / "config/examples").glob("*.yaml")), ids=str)
def test_examples(path: Path) -> None:
    config = load(path, SECRETS)
    assert config != load(None)


def test_examples_need_no_more_than_they_say() -> None:
    config = load(PROJECT / "config/examples/influxdb-2.yaml", SECRETS)
    (bridge,) = config.bridges
    assert bridge.token.get_secret_value() == "123456"  # type: ignore[attr-defined]
    assert list(config.named_bridges) == ["home"]
    assert list(config.named_devices) == ["pi", "mqtt"]


def test_no_devices_means_none() -> None:
    assert loads("devices: []").devices == ()
    assert loads("devices:\n").devices == ()


def test_scalars_by_yaml_1_2() -> None:
    texts = {
        "NO": "NO", "yes": "yes", "on": "on", "12:30:00": "12:30:00", "2026-01-01": "2026-01-01",
        "1_000": "1_000", ".inf": ".inf", "0b11": "0b11", "1e3": 1000.0, "0o17": 15, "0x1F": 31,
        "+5": 5, "-0": 0, "1.": 1.0, ".5": 0.5, "TRUE": True, "FALSE": False, "~": None, "": None,
        "9" * 5000: "9" * 5000,
    }  # fmt: skip
    for text, value in texts.items():
        found = plain(text)
        assert (found, type(found)) == (value, type(value)), text


def test_text_stays_text() -> None:
    tags = "{country: NO, at: 12:30:00, on: yes, n: !!str 5}"
    bridge = f"{{type: influxdb, url: http://x, bucket: b, mapping: {{tags: {tags}}}}}"
    config = loads(f"bridges: [{bridge}]")
    (built,) = config.bridges
    assert built.mapping.tags == {"country": "NO", "at": "12:30:00", "on": "yes", "n": "5"}


def test_quotes_make_text() -> None:
    config = loads("""broker: {url: mqtt://x, username: "5", ca_file: 'true', key_file: '017'}""")
    broker = config.broker
    assert (broker.username, broker.ca_file, broker.key_file) == ("5", "true", "017")


def test_names() -> None:
    config = loads(
        "devices: [{type: mqtt}, {type: mqtt, id: mqtt-2}, {type: mqtt}, {type: system}]"
    )
    assert list(config.named_devices) == ["mqtt", "mqtt-2", "mqtt-3", "system"]
    config = loads("devices: [{type: system}, {type: system, id: system}]")
    assert list(config.named_devices) == ["system-2", "system"]


def test_codec_by_name_and_in_full() -> None:
    for codec in ("json", "{type: json}"):
        (device,) = loads(f"devices: [{{type: mqtt, codec: {codec}}}]").devices
        assert type(device.codec).__name__ == "JsonSettings"  # type: ignore[attr-defined]


def test_broker_url() -> None:
    endpoint = loads(
        "broker: {url: 'mqtts://b.example', password: ${P}}", {"P": "1"}
    ).broker.endpoint
    assert (endpoint.host, endpoint.port, endpoint.tls, endpoint.password) == (
        "b.example", 8883, True, "1",
    )  # fmt: skip
    assert not loads("broker: {url: 'mqtt://b'}").broker.runs_embedded
    assert loads("broker: {embedded: true}").broker.runs_embedded


def test_anchors() -> None:
    config = loads("journal: {gather: &g 2s}\nhistory: {retention: *g}")
    assert config.history.retention == 2.0


def test_billion_laughs_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    for text in ("\n".join(lines), "a: &a [*a]", "[" * 200_000, "{a: " * 100_000):
        begun = time.process_time()
        with pytest.raises(InvalidConfig):
            loads(text)
        assert time.process_time() - begun < 20  # without the bound: for ever


def test_lookup_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BERRYGATE_CONFIG", raising=False)
    assert find() in (None, Path("/etc/berrygate/berrygate.yaml"))
    Path("berrygate.yaml").touch()
    assert find() == Path("berrygate.yaml")
    monkeypatch.setenv("BERRYGATE_CONFIG", "other.yaml")
    assert find() == Path("other.yaml")
    assert find(Path("this.yaml")) == Path("this.yaml")


def test_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/s:/t")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    monkeypatch.setenv("HOME", "/h")
    assert load(None).gateway.data_dir == Path("/s")
    monkeypatch.delenv("STATE_DIRECTORY")
    assert load(None).gateway.data_dir == Path("/x/berrygate")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert load(None).gateway.data_dir == Path("/h/.local/state/berrygate")
    assert loads("gateway: {data_dir: ~/here}").gateway.data_dir == Path("/h/here")


def test_id_tells_clones_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Grünhaus.local")
    machine = tmp_path / "machine-id"
    monkeypatch.setattr(models, "_MACHINE_ID", machine)
    assert models.default_id() == "grunhaus"
    machine.write_text("uninitialized\n")
    assert models.default_id() == "grunhaus"
    found = set()
    for digit in "0123":
        machine.write_text(digit * 32 + "\n")
        name = models.default_id()
        assert len(name) == len("grunhaus-0000")
        assert digit * 4 != name[-4:]  # machine-id(5): never show the id itself
        found.add(name)
    assert len(found) == 4


def test_values_do_not_change() -> None:
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.clock = "trust"


def test_reading_a_configuration_loads_nothing_heavy() -> None:
    code = (
        "import sys, gateway.config as c; c.load(None)\n"
        "print([m for m in ('numpy', 'fastapi', 'influxdb_client', 'pcodec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
