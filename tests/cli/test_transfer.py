"""`berrygate export` and `berrygate import` against a real gateway."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import environment
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.publisher import Publisher

NOW = time.time_ns() // 10**9 * 10**9


def lines(count: int, devices: int = 4) -> list[str]:
    """Reports of every type of value, in the order of an export."""
    return [
        f'd{device} t={20 + n % 100 / 10},n={n}i,s="a \\"{n % 7}\\", \\\\b",'
        f"ok={'true' if n % 2 else 'false'} {NOW - (count - n) * 10**9 + device}"
        for device in range(devices)
        for n in range(count // devices)
    ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path / "house", broker={"port": free_port()}) as house:
        yield house


def take(house: Gateway, said: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    path = house.directory / "in.lp"
    path.write_text("\n".join(said) + "\n")
    return house.command("import", str(path), *more)


def popen(house: Gateway, *args: str, **pipes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", *args, "-c", str(house.config)]
    return subprocess.Popen(command, env=environment(), **pipes)


def test_out_purged_and_in_again_gives_the_same_bytes(house: Gateway, tmp_path: Path) -> None:
    said = lines(12_000)
    done = take(house, said)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "12,000 lines: 12,000 reports stored\n"
    publisher = Publisher(house.broker_port, 3)
    publisher.run(0, 3_000)
    publisher.close()
    house.wait(lambda: len(house.values("d0", "seq", points=10_000)) == 1_000)
    first, second = tmp_path / "first.lp", tmp_path / "second.lp"
    # Not this machine's own sensors, which go on.
    chosen = ("--format", "line", "--device", "d*")
    assert house.command("export", *chosen, "-o", str(first)).returncode == 0
    assert set(said) < set(first.read_text().splitlines())
    house.stop()
    shutil.rmtree(house.directory / "data")
    house.start()
    assert house.command("export", *chosen).returncode == 1  # nothing is there
    done = house.command("import", str(first))
    assert (done.returncode, done.stdout) == (0, "15,000 lines: 15,000 reports stored\n")
    assert house.command("export", *chosen, "-o", str(second)).returncode == 0
    assert second.read_bytes() == first.read_bytes()
    done = house.command("import", str(first), "--json")
    assert json.loads(done.stdout) == {
        "lines": 15_000, "stored": 0, "known": 15_000, "refused": 0, "reasons": {}, "wrong": [],
    }  # fmt: skip
    assert house.command("export", *chosen).stdout == first.read_text()
    # What was imported went nowhere else, and counts nowhere else.
    assert not any(house.differences().values())
    assert house.api("status")["ledger"]["sources"]["mqtt"]["received"] == 0
    # A device that speaks for itself now is the one whose history was imported.
    publisher = Publisher(house.broker_port, 3)
    publisher.run(0, 3)
    publisher.close()
    house.wait(lambda: house.api("devices/d0")["source"] == "mqtt")
    assert {device["id"] for device in house.api("devices")} == {"pi", *(f"d{n}" for n in range(4))}
    house.stop()
    house.start()
    assert len(house.values("d1", "n", points=10_000)) == 3_000
    assert house.command("check", "--store").returncode == 0


def test_bad_lines_are_named_and_the_rest_is_taken(house: Gateway) -> None:
    said = lines(400)
    done = take(house, [said[0], "nonsense", *said[1:], "d0 x=\x1b[2J 1", f"d0,a=b x=1 {NOW}"])
    assert done.returncode == 1
    assert done.stdout == "403 lines: 400 reports stored\n"
    assert "error: line 2: not a field: ''\n" in done.stderr
    assert "\x1b" not in done.stderr
    assert 'error: line 403: tag "a" has no place in history\n' in done.stderr
    assert "error: 3 lines refused: 1 malformed, 1 number, 1 tag\n" in done.stderr
    assert "--device-tag NAME" in done.stderr
    assert house.command("import", "/nowhere").returncode == 2


def test_from_stdin_with_other_times_and_devices(house: Gateway) -> None:
    said = f"weather,station=Roof,town=X temperature=3.5,value=7 {NOW // 10**9}\n"
    command = popen(
        house, "import", "-", "--precision", "s", "--device-tag", "station", "--drop-tags",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = command.communicate(said.encode(), timeout=30)
    assert (command.returncode, out) == (0, b"1 lines: 1 reports stored\n")
    got = house.command("export", "--device", "roof", "--time", "ms").stdout
    assert got == (
        f"time,device,metric,value\n{NOW // 10**6},roof,weather.temperature,3.5\n"
        f"{NOW // 10**6},roof,weather,7.0\n"
    )


def test_one_import_at_a_time(house: Gateway) -> None:
    first = popen(house, "import", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdin is not None
    first.stdin.write(f"a x=1 {NOW}\n".encode())
    first.stdin.flush()
    house.wait(lambda: "a" in {device["id"] for device in house.api("devices")})
    second = take(house, lines(4))
    assert second.returncode == 1
    assert "something is being imported already" in second.stderr
    first.kill()  # frees the way
    first.communicate()
    house.wait(lambda: take(house, lines(4)).returncode == 0)


def test_a_gateway_that_is_killed_is_noticed(house: Gateway, tmp_path: Path) -> None:
    take(house, lines(20_000))
    target = tmp_path / "out.csv"
    target.write_text("what was there before")
    # Its output is a pipe that is full: it stands in the middle of the data.
    reading = popen(
        house, "export", "--format", "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert reading.stdout is not None
    got = reading.stdout.read(100_000)
    os.kill(house.pid, signal.SIGSTOP)
    to_file = popen(house, "export", "-o", str(target), stderr=subprocess.PIPE)
    time.sleep(0.5)
    house.kill()
    rest, said = reading.communicate(timeout=30)
    assert len((got + rest).splitlines()) < 20_000
    assert reading.returncode == 3
    assert b"error: the gateway hung up" in said
    assert to_file.wait(30) == 3
    assert target.read_text() == "what was there before"
    assert not list(tmp_path.glob(".*"))
    done = house.command("export")
    assert done.returncode == 3
    assert "no gateway is running" in done.stderr
    assert house.command("import", "-").returncode == 3


def test_an_import_under_a_kill_can_be_started_again(house: Gateway) -> None:
    said = lines(40_000)
    path = house.directory / "in.lp"
    path.write_text("\n".join(said))
    command = popen(house, "import", str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    house.wait(lambda: len(house.values("d0", "n", points=10_000)) > 2_000)
    house.kill()
    _, told = command.communicate(timeout=30)
    assert command.returncode == 3
    assert b"may be started again" in told
    house.start()
    done = house.command("import", str(path), "--json")
    counts = json.loads(done.stdout)
    assert counts["stored"] + counts["known"] == 40_000
    assert counts["known"] > 2_000
    assert house.command("export", "--format", "line", "--device", "d?").stdout.splitlines() == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_nothing_is_left(house: Gateway, tmp_path: Path, number: int) -> None:
    take(house, lines(40_000))
    target = tmp_path / "out.lp"
    command = popen(house, "export", "-o", str(target), stderr=subprocess.PIPE)
    house.wait(lambda: any(path.stat().st_size for path in tmp_path.glob(".out.lp.*.part")))
    os.kill(house.pid, signal.SIGSTOP)  # so that it is not ready too soon
    try:
        assert command.poll() is None
        command.send_signal(number)
        command.communicate(timeout=30)
    finally:
        os.kill(house.pid, signal.SIGCONT)
    assert command.returncode in (-number, 128 + number)
    assert not list(tmp_path.glob("*out.lp*"))
    assert not list(tmp_path.glob(".*"))


def test_a_broken_pipe_ends_it(house: Gateway) -> None:
    take(house, lines(20_000))
    command = popen(house, "export", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.read(1_000)
    command.stdout.close()
    assert command.wait(30) == -signal.SIGPIPE  # as any other program in a pipe
    assert command.stderr is not None
    assert command.stderr.read() == b""
    assert house.command("export", "--device", "d0").returncode == 0


def test_where_it_can_not_be_written(house: Gateway, tmp_path: Path) -> None:
    take(house, lines(400))
    done = house.command("export", "-o", str(tmp_path / "no" / "out.csv"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot write" in done.stderr
    full = popen(house, "export", "-o", "/dev/full", stderr=subprocess.PIPE)
    _, said = full.communicate(timeout=30)
    assert full.returncode == 1
    assert b"No space left on device" in said


def test_progress_on_a_terminal_only(house: Gateway, tmp_path: Path) -> None:
    take(house, lines(20_000))
    master, terminal = pty.openpty()
    said = bytearray()

    def listen() -> None:
        try:
            while data := os.read(master, 4_096):
                said.extend(data)
        except OSError:
            return  # its other end is closed

    thread = threading.Thread(target=listen)
    thread.start()
    exporting = popen(house, "export", "-o", str(tmp_path / "x"), stderr=terminal)
    assert exporting.wait(60) == 0
    importing = popen(house, "import", str(tmp_path / "x"), stderr=terminal, stdout=terminal)
    importing.wait(60)
    os.close(terminal)
    thread.join(10)
    text = said.decode()
    assert re.search(r"[\d,]+ rows  [\d.]+ [kM]B  \d+%  [\d,]+/s", text)
    assert re.search(r"[\d,]+ lines  [\d.]+ [kM]B  \d+%  [\d,]+/s", text)
    assert house.command("export", "-o", str(tmp_path / "y")).stderr == ""
