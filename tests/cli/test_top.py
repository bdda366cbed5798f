"""`berrygate top` on a terminal of its own, with a real gateway and real messages behind it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli.top.terminal import Keys
from gateway.web import control
from tests.support.command import environment, run
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.publisher import Publisher
from tests.support.screen import Screen, Terminal, terminal
from tests.support.small_house import SmallHouse, standing

SIZES = [(60, 20), (80, 24), (120, 40)]
DEVICES = 40
TOP = [sys.executable, "-m", "gateway", "top", "--interval", "0.3"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that 40 devices speak to all the time, with bridges that find nobody."""
    directory = tmp_path_factory.mktemp("top")
    nobody = f"http://127.0.0.1:{free_port()}"
    bridge = {"type": "influxdb", "version": "1", "url": nobody, "database": "x"}
    bridges = [{**bridge, "name": name} for name in ("cellar", "barn", "attic")]
    with gateway(directory, broker={"port": free_port()}, bridges=bridges) as house, talk(house):
        house.wait(lambda: house.api("status")["devices"]["count"] == DEVICES + 1)
        yield house


@contextmanager
def talk(house: Gateway) -> Iterator[None]:
    """Devices that publish, for 10 minutes at most."""
    stop = threading.Event()
    publisher = Publisher(house.broker_port, DEVICES)
    thread = threading.Thread(target=publisher.run, args=(0, 60_000, 100, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@contextmanager
def top(config: Path, columns: int, rows: int, **environ: str) -> Iterator[Terminal]:
    environ = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environ}
    env = environment(BERRYGATE_CONFIG=str(config), **environ)
    with terminal(TOP, columns, rows, env) as shown:
        yield shown


def devices(screen: Screen) -> list[str]:
    """The ids of the devices that are shown."""
    at = next(place for place, line in enumerate(screen.lines) if re.match("DEVICE[ ▼]", line))
    return [line.split()[0] for line in screen.lines[at + 1 : -1] if line]


def whole(shown: Terminal) -> Screen:
    """The screen with rates on it, checked for what did not fit."""
    screen = shown.until(lambda s: bool(re.search(r"IN [\d,.]+/s", s.text)))
    assert screen.overflowed == []
    return screen


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_everything_fits_and_is_there(house: Gateway, columns: int, rows: int) -> None:
    with top(house.config, columns, rows) as shown:
        screen = whole(shown)
        assert "1049" in screen.modes
        assert screen.lines[0].startswith("test  ")
        for text in ("STAGE", "P95", "← bottleneck", "JOURNAL", "/day", "GATEWAY cpu", "MACHINE",
                     "LEDGER 0 unexplained", "DROPPED 0", "cellar 0/s", "DEVICES 41"):  # fmt: skip
            shown.shows(text)
        assert "q quit" in screen.lines[rows - 1]
        assert len(devices(screen)) >= 4
        both = "BRIDGE" in screen.text
        assert both == (rows > 20)
        shown.press("q")
        assert shown.ended() == 0
        assert shown.attributes() == shown.modes
        assert shown.screen.modes == {"25", "7"}


def test_keys(house: Gateway) -> None:
    with top(house.config, 60, 20) as shown:
        whole(shown)
        for mark in ("LAST SEEN▼", "STATE▼", "READINGS▼", "DEVICE▼"):
            shown.press("s")
            shown.shows(mark)
        screen = shown.until(lambda s: devices(s)[:3] == ["d0", "d1", "d10"])
        page = len(devices(screen))
        shown.press("\x1b[B")
        shown.until(lambda s: devices(s)[:2] == ["d1", "d10"])
        shown.press("\x1bOA\x1b[6~")
        shown.until(lambda s: f"{page + 1} to {2 * page} of 41" in s.text)
        shown.press("\x1b[F")
        shown.until(lambda s: devices(s)[-1:] == ["pi"])
        shown.press("\x1b[H")
        shown.until(lambda s: devices(s)[:1] == ["d0"])
        shown.press("\t")
        shown.shows("BRIDGE", "⬣ failing")
        assert "STAGE" not in shown.screen.text
        shown.press("\t")
        shown.until(lambda s: len(devices(s)) > page and "BRIDGE" not in s.text)
        shown.press("?")
        shown.shows("scroll devices")
        shown.press(" \t")
        shown.shows("STAGE")
        assert shown.screen.overflowed == []


def test_filter(house: Gateway) -> None:
    with top(house.config, 80, 24) as shown:
        whole(shown)
        shown.press("/D3q")
        shown.shows('filter "d3q": 0 match')
        shown.press("\x7f\r")
        shown.shows('filter "d3": 11 match')
        assert "/d3_" not in shown.screen.text
        assert all(name.startswith("d3") for name in devices(shown.screen))
        shown.press("\x1b")
        shown.until(lambda s: "filter " not in s.lines[-10:] and "1 to " in s.text)
        shown.until(lambda s: "11 match" not in s.text)
        shown.press("/d1\x1b")
        shown.until(lambda s: "Esc clears" not in s.text and "match" not in s.text)
        assert shown.process.poll() is None


def test_pause_holds_still(house: Gateway) -> None:
    with top(house.config, 80, 24) as shown:
        whole(shown)
        shown.press("p")
        shown.shows("PAUSED since")
        shown.read(0.5)
        before = shown.screen.lines[:-1]
        shown.read(1.5)
        assert shown.screen.lines[:-1] == before
        shown.press("p")
        shown.until(lambda s: "PAUSED" not in s.text and s.lines[:-1] != before)


def test_resize(house: Gateway) -> None:
    with top(house.config, 120, 40) as shown:
        whole(shown)
        for columns, rows in ((60, 20), (30, 6), (8, 2), (200, 60), (80, 24)):
            shown.resize(columns, rows)
            # What it had begun to draw for the size before may come first.
            screen = shown.until(
                lambda s: s.cleared and not s.overflowed and s.lines[0].startswith("test")
            )
            shown.read(0.5)
            assert screen.overflowed == []
        assert "q quit" in shown.screen.lines[23]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(house: Gateway, number: signal.Signals) -> None:
    with top(house.config, 80, 24) as shown:
        whole(shown)
        assert shown.attributes() != shown.modes
        if number is signal.SIGINT:
            shown.press("\x03")
        else:
            shown.process.send_signal(number)
        assert shown.ended() == -number
        assert shown.attributes() == shown.modes
        assert shown.screen.modes == {"25", "7"}
        assert "Traceback" not in shown.written


def test_ctrl_z_and_fg(house: Gateway) -> None:
    command = " ".join(TOP)
    shell = ["bash", "--norc", "--noprofile", "-i"]
    env = environment(
        BERRYGATE_CONFIG=str(house.config), TERM="xterm", LC_ALL="C.UTF-8", PS1="ready> "
    )
    with terminal(shell, 80, 24, env) as shown:
        shown.shows("ready>")
        shown.press(f"{command}\n")
        shown.until(lambda s: "q quit" in s.text and "1049" in s.modes)
        shown.press("\x1a")
        shown.until(lambda s: "1049" not in s.modes and "25" in s.modes)
        assert "Stopped" in shown.written or shown.until(lambda _: "Stopped" in shown.written)
        shown.screen.clear()
        shown.press("fg\n")
        shown.until(lambda s: "q quit" in s.text and "1049" in s.modes)
        shown.press("q")
        shown.until(lambda s: "1049" not in s.modes)
        shown.press("echo code $?\n")
        shown.until(lambda _: "code 0" in shown.written)


def test_a_gateway_that_stops_and_comes_back(tmp_path: Path) -> None:
    house = Gateway(tmp_path, broker={"port": free_port()})
    house.start()
    try:
        with top(house.config, 80, 24) as shown:
            whole(shown)
            house.stop()
            screen = shown.shows("NOT REACHABLE since ")
            assert re.search(r"since \d\d:\d\d:\d\d  stale: from \d\d:\d\d:\d\d", screen.lines[0])
            assert screen.look_of("IN ") == "2"
            assert screen.look_of("NOT") == "1;31"
            assert {look for row in screen.cells[1:-1] for char, look in row if char != " "} == {
                "2"
            }
            house.start()
            shown.until(lambda s: "NOT REACHABLE" not in s.text)
            assert whole(shown).look_of("test") == "1"
            house.kill()
            shown.shows("NOT REACHABLE since ")
            shown.press("q")
            assert shown.ended() == 0
    finally:
        if house.pid and house.process is not None and house.process.poll() is None:
            house.stop()


def test_a_gateway_that_hangs(house: Gateway) -> None:
    with top(house.config, 80, 24) as shown:
        whole(shown)
        os.kill(house.pid, signal.SIGSTOP)
        try:
            shown.shows("NOT REACHABLE since ", "the gateway does not answer")
            shown.press("?")
            shown.shows("scroll devices")
            shown.press("x")
        finally:
            os.kill(house.pid, signal.SIGCONT)
        shown.until(lambda s: "NOT REACHABLE" not in s.text)


def test_an_error_of_ours_gives_the_terminal_back(tmp_path: Path) -> None:
    small, config = SmallHouse(), tmp_path / "berrygate.yaml"
    config.write_text(f"gateway: {{data_dir: {tmp_path}}}\n")
    with standing(small, tmp_path), top(config, 80, 24) as shown:
        whole(shown)
        small.broken = True
        assert shown.ended() == 1
        assert "KeyError" in shown.written
        assert shown.attributes() == shown.modes
        assert shown.screen.modes == {"25", "7"}


def test_a_loss_is_told_by_a_word_and_red(tmp_path: Path) -> None:
    small, config = SmallHouse(), tmp_path / "berrygate.yaml"
    config.write_text(f"gateway: {{data_dir: {tmp_path}}}\n")
    with standing(small, tmp_path), top(config, 60, 20) as shown:
        shown.shows("LEDGER 0 unexplained", "DROPPED 1 (rate 1)", "DEAD LETTERS 1")
        small.source.received += 3
        screen = shown.shows("UNEXPLAINED mqtt +3")
        assert screen.look_of("UNEXPLAINED") == "1;31"
        small.thrown = 1_250
        shown.shows("DROPPED 1,251 (broker 1,250, rate 1)")
        small.devices_["\x1b]0;owned\x07"] = {"日本": 1.0}
        shown.shows("�]0;owned�")
        assert screen.overflowed == []


def test_what_limits_is_told_with_its_reason(tmp_path: Path) -> None:
    small, config = SmallHouse(), tmp_path / "berrygate.yaml"
    config.write_text(f"gateway: {{data_dir: {tmp_path}}}\n")
    with standing(small, tmp_path), top(config, 80, 24) as shown:
        shown.shows("← bottleneck")
        journal = {"stage": "journal", "cause": "disk", "text": "waits for the disk", "since": 1}
        small.limits = [journal]
        shown.shows("journal ← bottleneck: waits for the disk")
        small.limits = [journal, {**journal, "stage": "deliver:home"}]
        screen = shown.shows("journal (+1 more) ← bottleneck: waits for the disk")
        assert screen.overflowed == []


def test_a_connection_that_the_gateway_lets_go_of_is_no_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_IDLE", 0.1)  # less than from one look to the next
    small, config = SmallHouse(), tmp_path / "berrygate.yaml"
    config.write_text(f"gateway: {{data_dir: {tmp_path}}}\n")
    with standing(small, tmp_path), top(config, 60, 20) as shown:
        whole(shown)
        looked = small.looked
        shown.until(lambda _: small.looked > looked + 5)
        assert "NOT REACHABLE" not in shown.written


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"LC_ALL": "C"}, {"TERM": "linux"}])
def test_without_colours_or_shapes(house: Gateway, environ: dict[str, str]) -> None:
    with top(house.config, 60, 20, **environ) as shown:
        screen = whole(shown)
        assert "bottleneck" in screen.text
        if "NO_COLOR" in environ:
            assert screen.colours == set()
            assert re.search(r"[✔◉▲⬣☒] [A-Z]+ \d+", screen.lines[0])
        else:
            assert screen.text.isascii()
            assert re.search(r"[+o!#X] [A-Z]+ \d+", screen.lines[0])


def test_a_page_where_there_is_no_terminal(house: Gateway) -> None:
    done = run("top", BERRYGATE_CONFIG=str(house.config), LC_ALL="C.UTF-8")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    for text in ("STAGE", "BRIDGE", "DEVICES 41", "LEDGER 0 unexplained"):
        assert text in done.out
    assert max(map(len, done.out.splitlines())) <= 120


def test_json_once_tells_what_flows(house: Gateway) -> None:
    done = run("top", "--json", "--once", BERRYGATE_CONFIG=str(house.config))
    found = json.loads(done.out)
    assert done.code == 0
    assert found["reachable"]
    assert found["in"] > 0
    assert found["differences"] == {}
    assert found["journal"]["per_day"] == pytest.approx(found["journal"]["written"] * 86_400)
    assert found["process"]["pid"] == house.pid
    assert found["process"]["rss"] > 10_000_000
    assert 0 <= found["machine"]["cpu_percent"] <= 100
    assert found["devices"]["count"] == 41
    assert len(found["devices"]["rows"]) == 20
    for bridge in found["bridges"]:
        assert (bridge["state"], bridge["rate"]) == ("failing", 0)
        assert bridge["pending"] > 0


def test_json_goes_on_and_says_when_the_gateway_is_away(tmp_path: Path) -> None:
    house = Gateway(tmp_path, broker={"port": free_port()})
    house.start()
    process = subprocess.Popen(
        [*TOP, "--json"], stdout=subprocess.PIPE, text=True,
        env=environment(BERRYGATE_CONFIG=str(house.config)),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["reachable"]
        house.stop()
        deadline = time.monotonic() + 30
        while (found := json.loads(process.stdout.readline()))["reachable"]:
            assert time.monotonic() < deadline
        assert found.keys() == {"time", "reachable", "since", "why"}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_without_a_gateway(tmp_path: Path) -> None:
    config = tmp_path / "berrygate.yaml"
    config.write_text(f"gateway: {{data_dir: {tmp_path}}}\n")
    for arguments in (["top"], ["top", "--json"], ["top", "--once"]):
        done = run(*arguments, BERRYGATE_CONFIG=str(config))
        assert (done.code, done.out) == (3, "")
        assert "no gateway is running" in done.err
    assert run("top", "--interval", "0").code == 2


def test_keys_that_come_in_pieces() -> None:
    keys = Keys()
    assert keys.take(b"\x1b") == []
    assert keys.pending
    assert keys.take(b"[") == []
    assert keys.take(b"A") == ["up"]
    assert not keys.pending
    assert keys.take(b"\x1b") == []
    assert keys.take(b"", last=True) == ["escape"]
    assert keys.take(b"\x1b[1;5Cs") == ["s"]
    assert keys.take(b"\x1b\x1b[B") == ["escape", "down"]
