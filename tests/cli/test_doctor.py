"""`berrygate doctor`: each check is made to fail for real, and says what to do."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import loads
from gateway.core.settings import Secret
from gateway.doctor import access, disk, machine, serial_ports
from gateway.doctor.examination import ALSO, CHECKS, examine
from gateway.doctor.findings import Finding, Scene, State
from gateway.doctor.masking import MASK, Masking
from tests.support.cable import Cable
from tests.support.command import environment
from tests.support.gateway import gateway
from tests.support.influx import influx_1
from tests.support.influx2 import BUCKET, ORG, TOKEN, influx_2
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port
from tests.support.small_house import SmallHouse, open_directory, standing
from tests.support.subscriber import Subscriber
from tests.support.usb import adapter

DOCS = Path(__file__).parents[2] / "docs/howto/doctor.md"
Found = dict[str, Any]


def written(directory: Path, **config: Any) -> Path:
    """A configuration with a data directory and ports of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "berrygate.yaml"
    whole = {
        "gateway": {"id": "test", "data_dir": str(directory / "data")},
        "api": {"port": free_port()},
        "broker": {"port": free_port()},
        **config,
    }
    path.write_text(yaml.safe_dump(whole))
    path.chmod(0o640)
    return path


AS_NOBODY = """
import contextlib, io, os, sys
from gateway.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(sys.argv[1:])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""
"""Once as ourselves: the interpreter may lie where only root may go, and imports late."""


def doctor(config: Path, *before: str, nobody: bool = False) -> list[Found]:
    """What it found; each WARN and FAIL has a fix, and the exit code fits."""
    began = time.monotonic()
    done = subprocess.run(
        [*before, sys.executable, *(["-c", AS_NOBODY] if nobody else ["-m", "gateway"]),
         "doctor", "--json", "-c", str(config)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert time.monotonic() - began <= 20, "doctor takes at most 20 s"
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    findings: list[Found] = told["findings"]
    failed = [each for each in findings if each["state"] == "FAIL"]
    assert done.returncode == bool(failed), done.stderr
    assert told["ok"] is not bool(failed)
    for each in findings:
        assert bool(each["fix"]) is (each["state"] in ("WARN", "FAIL")), each
        assert each["check"] in {*CHECKS, *ALSO}
    return findings


def one(findings: list[Found], check: str, subject: str = "") -> Found:
    """The one finding of a check."""
    found = [e for e in findings if e["check"] == check and subject in e["subject"]]
    assert len(found) == 1, (check, found)
    return found[0]


def bridge(url: str, **more: Any) -> dict[str, Any]:
    """A bridge to a server that answers as InfluxDB 2."""
    return {
        "type": "influxdb", "name": "home", "url": url, "org": ORG, "bucket": BUCKET,
        "token": TOKEN, **more,
    }  # fmt: skip


def test_every_check_has_its_line_in_the_docs() -> None:
    described = re.findall(r"^\| `([a-z.]+)` \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(described) == sorted({*CHECKS, *ALSO})


def test_nothing_is_wrong_and_nothing_is_written_before_the_first_start(tmp_path: Path) -> None:
    config = written(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = doctor(config)
    assert [each for each in found if each["state"] == "FAIL"] == []
    assert one(found, "gateway.running")["state"] == "WARN"
    assert one(found, "broker.program")["state"] == "OK"
    assert {each["check"] for each in found} == {*CHECKS, *ALSO}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_configuration_with_mistakes_is_one_line_each(tmp_path: Path) -> None:
    config = written(tmp_path, jornal={"gather": "1s"}, history={"retention": "x"})
    found = [each for each in doctor(config) if each["check"] == "config.valid"]
    assert {each["subject"] for each in found} == {"jornal", "history.retention"}
    assert {each["state"] for each in found} == {"FAIL"}


def test_ports_that_others_have_are_named_with_their_program(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.create_server(("127.0.0.1", 0)) as broker,
    ):
        ports = web.getsockname()[1], broker.getsockname()[1]
        config = written(tmp_path, api={"port": ports[0]}, broker={"port": ports[1]})
        found = doctor(config)
    for check, port in zip(("access.ports", "broker.reachable"), ports, strict=True):
        each = one(found, check)
        assert each["state"] == "FAIL"
        assert f"process {os.getpid()}" in each["seen"]
        assert str(port) in each["seen"]


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    found = doctor(written(tmp_path, api={"host": "192.0.2.1", "port": 8080}))
    assert one(found, "access.ports")["state"] == "FAIL"


def test_a_broker_that_is_down_or_refuses_us(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "gate", "right-one"], check=True
    )
    extra = f"allow_anonymous false\npassword_file {passwords}"
    with mosquitto(tmp_path / "broker", extra) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        config = written(
            tmp_path / "a", broker={"url": url, "username": "gate", "password": "right-one"}
        )
        assert one(doctor(config), "broker.reachable")["state"] == "OK"
        wrong = written(
            tmp_path / "b", broker={"url": url, "username": "gate", "password": "wrong-one"}
        )
        found = one(doctor(wrong), "broker.reachable")
        assert found["state"] == "FAIL"
        assert "uthoriz" in found["seen"]
    found = one(doctor(config), "broker.reachable")
    assert found["state"] == "FAIL"
    assert "refused" in found["seen"]


def certificate(directory: Path, name: str, when: str = "", days: int = 365) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    directory.mkdir(parents=True, exist_ok=True)
    crt, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
    subprocess.run(
        [
            *(["faketime", when] if when else []), "openssl", "req", "-x509", "-newkey", "rsa:2048",
            "-nodes", "-keyout", str(key), "-out", str(crt), "-days", str(days),
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    return crt, key


@pytest.mark.parametrize(
    ("when", "days", "state"),
    [("2020-01-01", 30, "FAIL"), ("", 10, "WARN"), ("", 365, "OK")],
    ids=["expired", "soon", "valid"],
)
def test_certificates_that_expire(tmp_path: Path, when: str, days: int, state: str) -> None:
    crt, key = certificate(tmp_path, "ours", when, days)
    broker = {
        "url": f"mqtts://localhost:{free_port()}", "cert_file": str(crt), "key_file": str(key),
    }  # fmt: skip
    found = one(doctor(written(tmp_path, broker=broker)), "certificate", str(crt))
    assert found["state"] == state, found


def test_a_certificate_with_another_ones_key_or_none_at_all(tmp_path: Path) -> None:
    crt, _ = certificate(tmp_path, "ours")
    _, key = certificate(tmp_path, "another")
    url = f"mqtts://localhost:{free_port()}"
    broker = {"url": url, "cert_file": str(crt), "key_file": str(key)}
    found = [e for e in doctor(written(tmp_path, broker=broker)) if e["subject"] == str(crt)]
    assert any(e["state"] == "FAIL" and "does not go with" in e["seen"] for e in found)
    broker = {"url": url, "ca_file": str(tmp_path / "nothing.pem")}
    found = doctor(written(tmp_path, broker=broker))
    assert one(found, "certificate", "nothing.pem")["state"] == "FAIL"


def test_certificates_of_the_own_broker_go_with_their_own_keys(tmp_path: Path) -> None:
    path = written(tmp_path)
    own = tmp_path / "data/broker"
    for name in ("ca", "server"):
        crt, key = certificate(tmp_path, name)
        own.mkdir(parents=True, exist_ok=True)
        crt.rename(own / f"{name}.crt")
        key.rename(own / f"{name}.key")
    found = [each for each in doctor(path) if each["check"] == "certificate"]
    assert [each["state"] for each in found] == ["OK", "OK"]
    (own / "server.key").write_bytes((own / "ca.key").read_bytes())
    states = [each["state"] for each in doctor(path) if "server.crt" in each["subject"]]
    assert "FAIL" in states


def test_a_server_whose_certificate_nobody_vouches_for(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path, "server")
    with mosquitto(tmp_path / "broker", f"certfile {crt}\nkeyfile {key}") as broker:
        url = f"mqtts://localhost:{broker.port}"
        found = one(doctor(written(tmp_path, broker={"url": url})), "broker.reachable")
        assert found["state"] == "FAIL"
        assert found["seen"].count("TLS") == 1
        good = written(tmp_path, broker={"url": url, "ca_file": str(crt)})
        assert one(doctor(good), "broker.reachable")["state"] == "OK"


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory."""
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_disk_that_is_read_only_or_full_or_forgets(tmp_path: Path) -> None:
    config = written(tmp_path)
    with small_disk(tmp_path / "data", "80M") as disk_:
        found = doctor(config)
        assert one(found, "disk.kind")["state"] == "WARN"
        assert one(found, "disk.writable")["state"] == "OK"
        assert one(found, "disk.space")["state"] == "WARN"  # less than journal.max_size
        (disk_ / "others").write_bytes(b"x" * 60_000_000)
        assert one(doctor(config), "disk.space")["state"] == "FAIL"
        subprocess.run(["mount", "-o", "remount,ro", disk_], check=True)
        found = doctor(config)
        assert one(found, "disk.writable")["state"] == "FAIL"
        assert "remount" in one(found, "disk.writable")["fix"]


def test_a_bridge_with_a_wrong_token_a_missing_bucket_or_no_server(tmp_path: Path) -> None:
    with influx_2() as server:
        good = doctor(written(tmp_path, bridges=[bridge(server.url)]))
        assert one(good, "bridge.reachable", "home")["state"] == "OK"
        assert server.points == {}
        for number, (change, said) in enumerate(
            [({"token": "not-the-token"}, "unauthorized"), ({"bucket": "missing"}, "not found")]
        ):
            found = doctor(written(tmp_path / str(number), bridges=[bridge(server.url, **change)]))
            each = one(found, "bridge.reachable", "home")
            assert each["state"] == "FAIL"
            assert said in each["seen"]
            assert "not-the-token" not in json.dumps(found)
        more = bridge(server.url, more_urls=[f"http://127.0.0.1:{free_port()}"])
        each = one(doctor(written(tmp_path / "more", bridges=[more])), "bridge.reachable", "home")
        assert each["state"] == "FAIL"
        assert each["seen"].startswith(more["more_urls"][0])
    down = one(doctor(written(tmp_path, bridges=[bridge(server.url)])), "bridge.reachable")
    assert (down["state"], "TCP" in down["seen"]) == ("FAIL", True)
    unknown = bridge("http://nobody.invalid:8086")
    found = one(doctor(written(tmp_path, bridges=[unknown])), "bridge.reachable")
    assert (found["state"], "DNS" in found["seen"]) == ("FAIL", True)


def test_a_bridge_to_another_broker_is_greeted_under_another_client_id(tmp_path: Path) -> None:
    """With the bridge's own it would throw out the gateway that runs."""
    with mosquitto(tmp_path / "far") as broker:
        there = {"type": "mqtt", "name": "far", "client_id": "ours"}
        reached = {**there, "url": f"mqtt://127.0.0.1:{broker.port}"}
        with Subscriber(broker.port, client_id="ours").running() as found:
            good = one(doctor(written(tmp_path / "good", bridges=[reached])), "bridge.reachable")
            assert (good["state"], "MQTT 5 connected" in good["seen"]) == ("OK", True)
            assert found.connections == 1
    down = {**there, "host": "127.0.0.1", "port": broker.port}
    found_ = one(doctor(written(tmp_path / "down", bridges=[down])), "bridge.reachable")
    assert (found_["state"], "TCP" in found_["seen"]) == ("FAIL", True)


def test_servers_that_never_answer_are_not_waited_for(tmp_path: Path) -> None:
    """A port that takes connections and says nothing: broker and bridge at once."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        config = written(
            tmp_path,
            broker={"url": f"mqtt://127.0.0.1:{port}"},
            bridges=[bridge(f"http://127.0.0.1:{port}", name="a"),
                     bridge(f"https://127.0.0.1:{port}", name="b")],
        )  # fmt: skip
        found = doctor(config)
    assert one(found, "broker.reachable")["state"] == "FAIL"
    assert one(found, "bridge.reachable", "a")["state"] == "FAIL"
    assert one(found, "bridge.reachable", "b")["state"] == "FAIL"


def test_a_database_that_is_missing_at_influxdb_1(tmp_path: Path) -> None:
    with influx_1(tmp_path / "influx") as server:
        settings = {"type": "influxdb", "name": "one", "version": "1", "url": server.url}
        for database, state in (("test", "OK"), ("missing", "FAIL")):
            config = written(tmp_path, bridges=[{**settings, "database": database}])
            assert one(doctor(config), "bridge.reachable")["state"] == state
        assert server.query("SHOW MEASUREMENTS") == []


def test_a_clock_that_was_never_set(tmp_path: Path) -> None:
    found = one(doctor(written(tmp_path), "faketime", "2020-01-01 00:00:00"), "clock.synchronised")
    assert found["state"] == "FAIL"
    assert "2020" in found["seen"]


def test_a_clock_that_is_behind_the_journal(tmp_path: Path) -> None:
    config = written(tmp_path)
    journal = tmp_path / "data/journal"
    journal.mkdir(parents=True)
    segment = journal / "000000000001.seg"
    segment.touch()
    os.utime(segment, (time.time() + 3600, time.time() + 3600))
    assert one(doctor(config), "clock.offset")["state"] == "FAIL"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_data_configuration_and_secrets_of_the_wrong_user() -> None:
    with open_directory() as directory:
        config = written(directory, bridges=[bridge("http://127.0.0.1:9", token="inline-token")])
        config.chmod(0o644)
        (directory / "data").mkdir(mode=0o700)
        found = doctor(config, nobody=True)
        assert one(found, "access.data")["state"] == "FAIL"
        assert one(found, "config.secrets")["state"] == "WARN"
        assert one(found, "config.readable")["state"] == "OK"
        (directory / "data").chmod(0o777)
        assert one(doctor(config, nobody=True), "access.data")["state"] == "FAIL"
        config.chmod(0o640)
        found = doctor(config, nobody=True)
        assert one(found, "config.readable")["state"] == "FAIL"
        assert {e["state"] for e in found if e["check"] == "config.valid"} == {"FAIL"}


@pytest.mark.skipif(os.geteuid() != 0, reason="hides a program in a mount namespace")
def test_an_embedded_broker_that_is_not_installed(tmp_path: Path) -> None:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    assert program is not None
    hide = f'mount --bind /dev/null {program} && exec "$@"'
    found = doctor(written(tmp_path), "unshare", "-m", "sh", "-c", hide, "sh")
    assert one(found, "broker.program")["state"] == "FAIL"
    assert "apt install mosquitto" in one(found, "broker.program")["fix"]


def test_damaged_stores(tmp_path: Path) -> None:
    config = written(tmp_path)
    data = tmp_path / "data"
    (data / "journal").mkdir(parents=True)
    (data / "journal/000000000001.seg").write_bytes(b"x" * 4096)
    with sqlite3.connect(data / "history.db") as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.executemany("INSERT INTO a VALUES (?)", [("x" * 500,)] * 1_000)
    connection.close()
    whole = bytearray((data / "history.db").read_bytes())
    whole[8_192:20_480] = os.urandom(12_288)
    (data / "history.db").write_bytes(whole)
    (data / "state.db").write_bytes(b"not a database at all" * 100)
    found = doctor(config)
    assert one(found, "store.journal")["state"] == "FAIL"
    assert one(found, "store.databases", "history")["state"] == "FAIL"
    assert one(found, "store.databases", "state")["state"] == "FAIL"


@pytest.mark.timeout(180)
def test_a_running_gateway_is_asked_and_not_disturbed(tmp_path: Path) -> None:
    dead = f"mqtt://127.0.0.1:{free_port()}"
    with influx_2() as server, gateway(
        tmp_path,
        broker={"port": free_port()},
        devices=[{"type": "system", "id": "pi", "interval": "200ms"},
                 {"type": "mqtt", "id": "away", "url": dead}],
        bridges=[bridge(server.url)],
    ) as house:  # fmt: skip
        assert house.process is not None
        house.wait(lambda: house.api("bridges")[0]["delivered"] > 0)
        found = doctor(house.config)
        assert str(house.process.pid) in one(found, "gateway.running")["seen"]
        for check in ("gateway.running", "gateway.version", "broker.reachable", "access.ports",
                      "store.journal", "disk.writable"):  # fmt: skip
            assert one(found, check)["state"] == "OK", one(found, check)
        assert one(found, "source", "pi")["state"] == "OK"
        assert one(found, "source", "away")["state"] == "FAIL"
        assert one(found, "bridge.delivery", "home")["state"] == "OK"
        server.mode = "unavailable"
        house.wait(lambda: house.api("bridges")[0]["state"] == "failing")
        found = doctor(house.config)
        assert one(found, "bridge.delivery", "home")["state"] == "FAIL"
        assert one(found, "bridge.reachable", "home")["state"] == "FAIL"
        assert set(house.differences().values()) == {0}
        house.process.send_signal(signal.SIGSTOP)
        try:
            found = doctor(house.config)
        finally:
            house.process.send_signal(signal.SIGCONT)
        assert one(found, "gateway.running")["state"] == "FAIL"
        assert str(house.process.pid) in one(found, "gateway.running")["seen"]


def test_what_a_running_gateway_says_against_itself(house: SmallHouse, config: Path) -> None:
    with standing(house, config.parent / "data"):
        found = doctor(config)
        assert one(found, "gateway.health")["state"] == "FAIL" or house.source.difference == 0
        house.source.journalled -= 1
        found = doctor(config)
        assert one(found, "gateway.health")["state"] == "FAIL"
        assert "unexplained" in one(found, "gateway.health")["seen"]


def tree(root: Path, **files: str) -> Scene:
    """A machine of which some files are known."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Scene(root=root)


@pytest.mark.parametrize(
    ("word", "state"), [("0x0", "OK"), ("0x50000", "WARN"), ("0x50005", "FAIL")]
)
def test_power_of_a_pi(tmp_path: Path, word: str, state: str) -> None:
    path = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text(word.removeprefix("0x"))
    (found,) = machine.power(Scene(root=tmp_path))
    assert (found.state, bool(found.fix)) == (state, state != "OK")


@pytest.mark.parametrize(("degrees", "state"), [(50, "OK"), (78, "WARN"), (84, "FAIL")])
def test_temperature(tmp_path: Path, degrees: int, state: str) -> None:
    scene = tree(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="cpu-thermal",
        sys__class__thermal__thermal_zone0__temp=f"{degrees}000",
    )
    (found,) = machine.temperature(scene)
    assert (found.state, bool(found.fix)) == (state, state != "OK")


@pytest.mark.parametrize(
    ("tenths", "state"), [("0x01 0x02", "OK"), ("0x09 0x01", "WARN"), ("0x0b 0x0b", "FAIL")]
)
def test_life_errors_and_wear_of_a_card(tmp_path: Path, tenths: str, state: str) -> None:
    errors = "0" if state == "OK" else "3"
    card = tmp_path / "sys/devices/mmcblk0/mmcblk0p2"
    card.mkdir(parents=True)
    sectors = 4 * 10**6 if state == "OK" else 400 * 10**6  # in a day
    (card / "stat").write_text(f"1 2 3 4 5 6 {sectors} 8 9 10 11")
    link = tmp_path / "sys/dev/block/179:2"
    link.parent.mkdir(parents=True)
    link.symlink_to(card)
    scene = tree(
        tmp_path,
        proc__self__mountinfo="1 1 179:2 / / rw,noatime - ext4 /dev/root rw",
        proc__uptime="86400.0 1.0",
        sys__block__mmcblk0__device__life_time=tenths,
        sys__fs__ext4__mmcblk0p2__errors_count=errors,
    )
    assert disk.life(scene)[0].state == state
    assert disk.errors(scene)[0].state == ("OK" if state == "OK" else "FAIL")
    wear = disk.wear(scene)[0]
    assert wear.state == ("OK" if state == "OK" else "WARN")
    assert "a day" in wear.seen


def test_hardware_that_the_user_may_not_use(tmp_path: Path, monkeypatch: Any) -> None:
    chip = tmp_path / "dev/gpiochip0"
    chip.parent.mkdir()
    chip.touch(mode=0o600)
    monkeypatch.setattr(access, "user", lambda scene: access.User("berry", 4_711, frozenset()))
    (found,) = access.groups(Scene(root=tmp_path))
    assert found.state is State.WARN
    assert "usermod -aG gpio berry" in found.fix
    chip.chmod(0o606)
    assert access.groups(Scene(root=tmp_path))[0].state is State.OK


def test_serial_ports(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "here").plug()
    cable.let_go()
    (tmp_path / "file").touch()
    names = {"good": "here", "none": "missing", "odd": "file"}
    devices = [
        {"type": "serial", "id": key, "port": str(tmp_path / name)} for key, name in names.items()
    ]
    config = written(tmp_path / "config", devices=devices)
    found = doctor(config)
    assert one(found, "source.port", "good")["state"] == "OK"
    assert "not there" in one(found, "source.port", "none")["seen"]
    assert "no serial port" in one(found, "source.port", "odd")["seen"]
    with subprocess.Popen(["sleep", "60"], stdin=cable.link.open("rb", buffering=0)) as other:
        seen = one(doctor(config), "source.port", "good")
        other.kill()
    assert seen["state"] == "FAIL"
    assert f"in use by sleep ({other.pid})" in seen["seen"]
    cable.unplug()
    assert one(doctor(config), "source.port", "good")["state"] == "FAIL"


def test_a_serial_port_whose_name_does_not_stay(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "cable").plug()
    cable.let_go()
    port = adapter(tmp_path, "ttyUSB0", cable.paths[-1])
    config = loads(f"devices: [{{type: serial, port: {port}}}]")
    (found,) = serial_ports.ports(Scene(config=config, root=tmp_path))
    assert (found.state, found.subject) == (State.WARN, "serial")
    assert found.fix.startswith("port: ")
    assert "by-id" in found.fix
    config = loads(f"devices: [{{type: serial, port: {found.fix.removeprefix('port: ')}}}]")
    (found,) = serial_ports.ports(Scene(config=config, root=tmp_path))
    assert found.state is State.OK
    cable.unplug()


async def test_a_check_that_hangs_or_breaks_hides_no_other(monkeypatch: Any) -> None:
    def hangs(scene: Scene) -> list[Finding]:
        time.sleep(30)
        return []

    def breaks(scene: Scene) -> list[Finding]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("gateway.doctor.examination._LONGEST", 0.3)
    began = time.monotonic()
    checks = {"disk.kind": hangs, "disk.life": breaks, "machine.memory": machine.memory}
    found = {each.check: each for each in await examine(Scene(), checks)}
    assert time.monotonic() - began < 10
    assert found["disk.kind"].state is State.FAIL
    assert found["disk.life"].state is State.FAIL
    assert all(found[name].fix for name in ("disk.kind", "disk.life"))
    assert found["machine.memory"].state in (State.OK, State.WARN)


def test_it_is_readable_at_80_columns(tmp_path: Path) -> None:
    config = written(tmp_path, bridges=[bridge(f"http://127.0.0.1:{free_port()}")])
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", "-c", str(config)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    paths = str(tmp_path)
    assert [n for n in done.stdout.splitlines() if len(n) >= 80 and paths not in n] == []
    assert "FAIL" in done.stdout
    assert "fix: " in done.stdout


# -- the bundle ---------------------------------------------------------------------------------

CANARY = "pArRoT"


def members(path: Path) -> dict[str, str]:
    """Name -> text."""
    with tarfile.open(path) as archive:
        return {
            entry.name.rpartition("/")[2]: archive.extractfile(entry).read().decode()  # type: ignore[union-attr]
            for entry in archive
        }


def secret_config(directory: Path, server: str) -> dict[str, Any]:
    """Every way to write a secret down, each with a canary of its own."""
    (directory / "token").write_text(f"{CANARY}-from-file/+=\n")
    (directory / "berrygate.env").write_text(
        f'ENVIRONMENT_PASSWORD="{CANARY}-environment"\nPART={CANARY}-part\n# A=b\n'
    )
    return {
        "broker": {"port": free_port()},
        "devices": [
            {"type": "mqtt", "id": "url", "url": f"mqtt://gate:{CANARY}-url@127.0.0.1:9"},
            {"type": "mqtt", "id": "key", "url": "mqtt://127.0.0.1:9", "username": "x",
             "password": f"{CANARY}-field"},
            {"type": "mqtt", "id": "ref", "url": "mqtt://127.0.0.1:9", "username": "x",
             "password": "${ENVIRONMENT_PASSWORD}"},
            {"type": "mqtt", "id": "part", "url": "mqtt://x:a${PART}b@127.0.0.1:9"},
        ],
        "bridges": [
            bridge(server, name="a", token="${file:token}"),
            bridge(server, name="b", token=f'{CANARY}-"quoted\\'),
        ],
    }  # fmt: skip


@pytest.mark.timeout(180)
def test_the_bundle_holds_no_secret_wherever_it_was_written(tmp_path: Path) -> None:
    with influx_2() as server:
        config = secret_config(tmp_path, server.url)
        path = written(tmp_path, **config)
        log = "\n".join(
            f"connecting to mqtt://gate:{CANARY}-old@broker {name}={CANARY}-log "
            f"{scheme} {CANARY}xyz"
            for name in ("password", "token", "api_key")
            for scheme in ("Bearer", "Authorization: Basic")
        ) + f"\nthe sink says: {CANARY}-from-file/+= and a{CANARY}-partb\n"  # fmt: skip
        tools = tmp_path / "tools"
        tools.mkdir()
        journalctl = tools / "journalctl"
        (tmp_path / "log").write_text(log)
        journalctl.write_text(f"#!/bin/sh\nexec cat {tmp_path}/log\n")
        journalctl.chmod(0o755)
        more = {"PATH": f"{tools}:{os.environ['PATH']}", "BERRYGATE_CONFIG": str(path)}
        run = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run"],
            env=environment(ENVIRONMENT_PASSWORD=f"{CANARY}-environment", PART=f"{CANARY}-part",
                            **more),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "data/control.sock").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1.5)
            done = bundle(tmp_path / "b.tar.gz", more)
        finally:
            run.terminate()
            run.wait(20)
    found = members(tmp_path / "b.tar.gz")
    assert set(found) >= {
        "README.txt", "doctor.txt", "doctor.json", "configuration.yaml", "versions.json",
        "storage.json", "log.txt", "status.json", "health.json", "performance.json",
        "bridges.json", "devices.json", "metrics.txt",
    }  # fmt: skip
    hits = [(name, CANARY) for name, text in found.items() if CANARY.lower() in text.lower()]
    assert hits == []
    assert CANARY not in done.stdout + done.stderr
    for name in set(found) - {"README.txt"}:
        assert name in found["README.txt"]
    assert found["log.txt"].count(MASK) >= 6
    assert "berrygate_info" in found["metrics.txt"]
    assert yaml.safe_load(found["configuration.yaml"])["bridges"][0]["bucket"] == BUCKET
    assert all("last" not in device for device in json.loads(found["devices.json"]))


def bundle(path: Path, environ: dict[str, str], *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", "--bundle", str(path), *more],
        env=environment(**environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_bundle_is_its_owners_and_overwrites_nothing(tmp_path: Path) -> None:
    environ = {"BERRYGATE_CONFIG": str(written(tmp_path))}
    path = tmp_path / "b.tar.gz"
    old = os.umask(0)
    try:
        assert bundle(path, environ).returncode == 0
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_bytes()
    refused = bundle(path, environ)
    assert refused.returncode != 0
    assert "--force" in refused.stderr
    assert path.read_bytes() == first
    assert bundle(path, environ, "--force").returncode == 0
    assert path.read_bytes() != first
    link = tmp_path / "link.tar.gz"
    link.symlink_to(tmp_path / "elsewhere")
    assert bundle(link, environ).returncode != 0
    assert not (tmp_path / "elsewhere").exists()
    assert [each.name for each in tmp_path.glob(".*")] == []


def test_a_configuration_that_is_no_yaml_is_left_out_of_the_bundle(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(f"bridges: [{{token: {CANARY}\nbroken")
    bundle(tmp_path / "b.tar.gz", {"BERRYGATE_CONFIG": str(path)})
    found = members(tmp_path / "b.tar.gz")
    assert "configuration.yaml" not in found
    assert [name for name, text in found.items() if CANARY in text] == []


@pytest.mark.parametrize(
    "text",
    ["password=hunter22", 'token: "hunter22"', "https://a:hunter22@b/", "Bearer hunter22",
     "Authorization: Basic hunter22", "api_key='hunter22'", "?token=hunter22&x=1",
     "{'password': 'hunter22'}", "mqtt://hunter22@b"],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked_though_nobody_knows_it(text: str) -> None:
    assert "hunter22" not in Masking([]).text(text)


def test_short_secrets_are_masked_only_where_they_stand_alone() -> None:
    masking = Masking(["ab", "", " ", Secret("long-one").get_secret_value()])
    assert masking.text("cab ab abc long-one") == f"cab {MASK} abc {MASK}"
