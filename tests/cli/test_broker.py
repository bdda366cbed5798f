"""`berrygate broker` against a real gateway: what it prints is what works."""

import json
import subprocess
from pathlib import Path

from tests.support.command import run
from tests.support.gateway import gateway
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port


def line(output: str) -> str:
    return output.splitlines()[output.splitlines().index("try it:") + 1]


def test_the_line_that_is_printed_works(tmp_path: Path) -> None:
    embedded, port = free_port(), free_port()
    with gateway(tmp_path, broker={"port": embedded}, devices=[{"type": "mqtt"}]) as house:
        assert "closed to the network" in house.command("broker").stdout
        opened = house.command("broker", "open", "--port", str(port))
        assert opened.returncode == 0, opened.stderr
        assert f"0.0.0.0  {port}" in opened.stdout
        assert "SHA-256     " in opened.stdout
        subprocess.run(line(opened.stdout), shell=True, check=True, timeout=20)
        house.wait(lambda: house.values("device-1", "value") == [21.5])

        added = house.command("broker", "users", "add", "scale")
        subprocess.run(line(added.stdout), shell=True, check=True, timeout=20)
        house.wait(lambda: house.values("scale", "value") == [21.5])
        assert house.command("broker", "users").stdout.split() == ["device-1", "scale"]
        stolen = line(added.stdout).replace("devices/scale/", "devices/device-1/")
        subprocess.run(stolen, shell=True, check=True, timeout=20)

        assert house.command("broker", "ca").stdout.startswith("-----BEGIN CERTIFICATE-----")
        shown = json.loads(house.command("broker", "show", "--json").stdout)
        assert [each["port"] for each in shown["listeners"]] == [port]
        assert shown["new"] is None
        assert house.api("status")["broker"]["listeners"] == shown["listeners"]

        assert house.command("broker", "users", "remove", "scale").returncode == 0
        failed = subprocess.run(
            line(added.stdout), shell=True, check=False, timeout=20, capture_output=True
        )
        assert failed.returncode != 0
        wrong = house.command("broker", "users", "remove", "scale")
        assert wrong.returncode == 1
        assert 'no user "scale"' in wrong.stderr
        assert house.command("broker", "close").returncode == 0
        assert house.values("device-1", "value") == [21.5]
        assert set(house.differences().values()) == {0}
    text = house.log.read_text()
    for word in (line(opened.stdout), line(added.stdout)):
        assert word.split("-P ")[1].split()[0] not in text


def test_configured_listeners_and_users(tmp_path: Path) -> None:
    embedded, port = free_port(), free_port()
    listener = {"host": "127.0.0.1", "port": port, "tls": False, "users": {"scale": "secret"}}
    broker = {"port": embedded, "listeners": [listener]}
    with gateway(tmp_path, broker=broker, devices=[{"type": "mqtt"}]) as house:
        subprocess.run(
            ["mosquitto_pub", "-p", str(port), "-u", "scale", "-P", "secret", "-q", "1",
             "-t", "devices/scale/telemetry", "-m", "3"],
            check=True, timeout=20,
        )  # fmt: skip
        house.wait(lambda: house.values("scale", "value") == [3.0])
        assert "configuration" in house.command("broker", "show").stdout


def test_another_broker_cannot_be_opened(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "theirs") as theirs,
        gateway(
            tmp_path / "ours",
            broker={"url": f"mqtt://127.0.0.1:{theirs.port}"},
            devices=[{"type": "mqtt"}],
        ) as house,
    ):
        done = house.command("broker", "open")
        assert done.returncode == 1
        assert "another broker" in done.stderr
        assert "fix: " in done.stderr


def test_open_to_everybody_is_refused_with_the_way_that_is_safe(tmp_path: Path) -> None:
    config = tmp_path / "berrygate.yaml"
    config.write_text("broker: {host: 0.0.0.0}\n")
    done = run("check", "-c", str(config))
    assert done.code == 2
    assert "berrygate broker open" in done.err
    config.write_text("broker: {url: mqtt://x, listeners: [{}]}\n")
    assert "only the embedded broker" in run("check", "-c", str(config)).err
    config.write_text("broker: {listeners: [{port: 1883}]}\n")
    assert "one port" in run("check", "-c", str(config)).err
