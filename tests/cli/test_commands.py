"""Every command, as a process of its own, against a standing house."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import __version__
from tests.support.command import Command, environment, run
from tests.support.small_house import STARTED, SmallHouse

Berrygate = Callable[..., Command]
COMMANDS = [
    "run", "check", "bench", "status", "top", "devices", "bridges", "tail", "query", "schema",
    "version",
]  # fmt: skip


def on_terminal(config: Path, *arguments: str, **environ: str) -> str:
    """What a command shows on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment(BERRYGATE_CONFIG=str(config), TERM="xterm", **environ),
        stdout=slave,
    )
    os.close(slave)
    shown = b""
    while select.select([master], [], [], 30)[0]:
        try:
            shown += os.read(master, 65536)
        except OSError:
            break
    os.close(master)
    process.wait(30)
    return shown.decode()


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f"    {command} " in done.out
        assert run(command, "--help").code == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gateway.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    heavy = {"pydantic", "asyncio", "fastapi", "structlog", "msgspec", "yaml", "numpy", "httpx"}
    assert not heavy & set(json.loads(done.stderr.replace("'", '"')))


def test_version() -> None:
    assert run("version").out == f"berrygate {__version__}\n"
    assert json.loads(run("version", "--json").out)["version"] == __version__


def test_the_schema_is_json() -> None:
    found = json.loads(run("schema").out)
    assert {"gateway", "broker", "devices", "bridges"} <= set(found["properties"])


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["status", "--jso"], ["devices", "show"], ["query", "soil-4"],
     ["query", "soil-4", "moisture", "--points", "many"]],
)  # fmt: skip
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert " fix: see berrygate" in done.err


def test_check(config: Path, berrygate: Berrygate) -> None:
    done = berrygate("check")
    assert done.code == 0
    assert done.out.startswith(f"ok: {config}\n")
    assert json.loads(berrygate("check", "--json").out)["devices"] == ["pi", "mqtt"]


def test_check_shows_every_error_at_its_place(config: Path) -> None:
    config.write_text("journal: {max_size: 10GBB}\nbrocker: {}\n")
    done = run("check", "-c", str(config))
    assert done.code == 2
    assert done.out == ""
    assert f"{config}:1:21" in done.err
    assert f"{config}:2:1" in done.err
    assert done.err.rstrip().endswith("2 errors.")
    found = json.loads(run("check", "--json", "-c", str(config)).out)
    assert [error["line"] for error in found["errors"]] == [1, 2]


def test_run_refuses_a_bad_configuration(config: Path, berrygate: Berrygate) -> None:
    config.write_text("journal: {max_size: 10GBB}\n")
    done = berrygate("run")
    assert done.code == 2
    assert 'unknown size unit "GBB"' in done.err


@pytest.mark.usefixtures("up")
def test_status(house: SmallHouse, berrygate: Berrygate) -> None:
    done = berrygate("status")
    assert done.code == 0, done.err
    assert "greenhouse-pi  ◉ GOOD 84  up 1h 2m" in done.out
    assert "oldest reading waits 90 s\n       it sends what waits\n" in done.out
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert rows["mqtt"] == ["mqtt", "10", "7", "1", "1", "1", "0", "0"]
    assert rows["home"] == ["home", "running", "8", "5", "3", "0", "0", "0", "-"]
    assert "  channel phone takes no messages: no route\n" in done.out
    assert json.loads(berrygate("status", "--json").out) == house.status()
    assert "\x1b" not in done.out


@pytest.mark.usefixtures("up")
def test_status_tells_what_is_not_well(house: SmallHouse, berrygate: Berrygate) -> None:
    house.level = "CRITICAL"
    assert berrygate("status").code == 1
    house.level = "WARNING"
    assert berrygate("status").code == 0
    house.waiting = ["history is starting"]
    done = berrygate("status", "--json")
    assert done.code == 1
    assert "not ready: history is starting" in berrygate("status").out
    assert "threw away" not in berrygate("status").out
    house.thrown = 1_250
    assert "the broker itself threw away 1,250" in berrygate("status").out


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize("side", ["source", "bridge"])
def test_status_shows_a_planted_loss(house: SmallHouse, berrygate: Berrygate, side: str) -> None:
    if side == "source":
        house.source.received += 3
    else:
        house.pending -= 3
    done = berrygate("status")
    assert done.code == 1
    assert "3 UNEXPLAINED" in done.out


@pytest.mark.usefixtures("up")
def test_devices(house: SmallHouse, berrygate: Berrygate) -> None:
    for arguments in (["devices"], ["devices", "list"]):
        lines = berrygate(*arguments).out.splitlines()
        assert [line.split()[0] for line in lines] == ["DEVICE", "pump-2", "soil-4"]
        assert "moisture=31 open=false" in lines[2]
    for arguments in (["--json", "list"], ["list", "--json"]):
        found = json.loads(berrygate("devices", *arguments).out)
        assert [device["id"] for device in found] == ["pump-2", "soil-4"]
    shown = berrygate("devices", "show", "soil-4")
    assert shown.code == 0
    assert "SOIL-4" in shown.out
    assert json.loads(berrygate("devices", "show", "soil-4", "--json").out)["id"] == "soil-4"


@pytest.mark.usefixtures("up")
def test_an_unknown_device(berrygate: Berrygate) -> None:
    done = berrygate("devices", "show", "soil-9")
    assert done.code == 1
    assert done.err == 'error: no device "soil-9"\n'


@pytest.mark.usefixtures("up")
def test_bridges(house: SmallHouse, berrygate: Berrygate) -> None:
    for arguments in (["bridges"], ["bridges", "list"]):
        lines = berrygate(*arguments).out.splitlines()
        row = lines[1].split()
        assert row[:7] == ["home", "influxdb", "running", "half_open", "2", "of", "4"]
        assert row[7:] == ["5", "3", "2.5s", "-"]
        two = lines[-1].split()
        assert two[:7] == ["home", "http://two:8086", "FAILED", "open", "0", "0", "12.5"]
        assert two[7:] == ["ms", "7", "connection", "refused"]
    assert json.loads(berrygate("bridges", "--json").out) == house.bridges()


@pytest.mark.usefixtures("up")
def test_query(house: SmallHouse, berrygate: Berrygate) -> None:
    done = berrygate("query", "soil-4", "moisture", "--start", "-2h", "--aggregate", "max")
    assert done.code == 0
    first, second = done.out.splitlines()[1:]
    assert first.split() == ["2026-11-20", "22:00:00.000", "21.5"]
    assert second.split()[-1] == "-"
    (device, metric, start, end, points, aggregate) = house.asked[0]
    assert (device, metric, points, aggregate) == ("soil-4", "moisture", 100, "max")
    assert end - start == pytest.approx(7200e9, abs=1e9)
    found = json.loads(berrygate("query", "soil-4", "moisture", "--json").out)
    assert found["points"] == [[STARTED, 21.5], [STARTED + 1000, None]]


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["soil-4", "moisture", "--start", "yesterday"], 2, "not a time"),
        (["soil-4", "moisture", "--start", "-1h", "--end", "-2h"], 2, "start is after end"),
        (["soil-4", "moisture", "--points", "0"], 2, "points"),
        (["soil-4", "moisture", "--aggregate", "median"], 2, "invalid choice"),
        (["soil-4", "colour"], 1, "colour"),
        (["Soil 4", "moisture"], 2, "device"),
    ],
)
def test_wrong_queries(berrygate: Berrygate, arguments: list[str], code: int, said: str) -> None:
    done = berrygate("query", *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


@pytest.mark.usefixtures("up")
def test_what_strangers_write_does_not_command_the_terminal(
    house: SmallHouse, berrygate: Berrygate
) -> None:
    house.devices_["soil-4"]["note"] = "\x1b]0;owned\x07\n\x1b[2Jx"
    for arguments in (["devices"], ["devices", "show", "soil-4"]):
        out = berrygate(*arguments).out
        assert "owned" in out
        assert "\x1b" not in out
        assert "\x07" not in out


def follow(config: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "tail", *arguments],
        env=environment(BERRYGATE_CONFIG=str(config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("up")
def test_tail_until_interrupted(house: SmallHouse, config: Path) -> None:
    process = follow(config, "soil-*")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.split() == [
        "22:00:00.000", "soil-4", "moisture=31", "open=false", "[unsynced]",
    ]  # fmt: skip
    assert "soil-4" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert err == ""
    gone(house)


@pytest.mark.usefixtures("up")
def test_tail_json_into_a_pipe_that_closes(house: SmallHouse, config: Path) -> None:
    process = follow(config, "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [line["device"] for line in lines] == ["soil-4", "pump-2"]
    process.stdout.close()
    process.wait(30)
    assert process.returncode == -signal.SIGPIPE
    assert process.stderr.read() == ""
    process.stderr.close()
    gone(house)


def gone(house: SmallHouse) -> None:
    deadline = time.monotonic() + 20
    while house.tails and time.monotonic() < deadline:
        time.sleep(0.02)
    assert house.tails == 0, "the gateway still serves a client that left"


@pytest.mark.usefixtures("up")
def test_colour_on_a_terminal_only_where_wanted(config: Path) -> None:
    assert "\x1b[32m◉ GOOD 84\x1b[0m" in on_terminal(config, "status")
    assert "\x1b" not in on_terminal(config, "status", NO_COLOR="1")
    assert "\x1b" not in on_terminal(config, "status", "--json")


@pytest.mark.usefixtures("up")
def test_completion_knows_the_devices(config: Path) -> None:
    line = "berrygate devices show s"
    environ = environment(
        BERRYGATE_CONFIG=str(config), _ARGCOMPLETE="1", COMP_LINE=line, COMP_POINT=str(len(line)),
        _ARGCOMPLETE_STDOUT_FILENAME=str(config.parent / "completed"),
    )  # fmt: skip
    subprocess.run([sys.executable, "-m", "gateway"], env=environ, check=True, timeout=30)
    assert (config.parent / "completed").read_text().strip() == "soil-4"


def test_pause_and_resume(up: None, berrygate: Berrygate, house: SmallHouse) -> None:
    assert berrygate("bridges", "pause", "home").out == "home is paused, 3 readings wait\n"
    assert house.paused
    assert json.loads(berrygate("bridges", "resume", "home", "--json").out)["state"] == "running"
    unknown = berrygate("bridges", "pause", "cellar")
    assert (unknown.code, unknown.err) == (1, 'error: no bridge "cellar"\n')


def test_dead_letters(up: None, berrygate: Berrygate) -> None:
    shown = berrygate("bridges", "dead-letters", "home").out
    assert "field type conflict" in shown
    assert "soil-4" in shown
    assert "\x1b" not in shown
    assert json.loads(berrygate("bridges", "dead-letters", "--json").out)["letters"][0]["id"] == 7
    assert berrygate("bridges", "dead-letters", "cellar").code == 1


def test_errors(up: None, berrygate: Berrygate) -> None:
    shown = berrygate("bridges").out
    assert (
        "home: errors in the last hour: 3 unavailable; in the last day: 4 unavailable; "
        "3 outages since the start, 2 healed unaided, 25.0s on average"
    ) in shown
    shown = berrygate("bridges", "errors", "home").out
    assert "1 denied, 4 unavailable" in shown
    outages = [row.split()[2:] for row in shown.splitlines()[-2:]]
    assert outages == [["1m", "not", "yet"], ["12.3s", "unaided"]]
    found = json.loads(berrygate("bridges", "errors", "home", "--json").out)
    assert found["outages"][0]["seconds"] == 12.34
    assert berrygate("bridges", "errors", "cellar").code == 1


def test_retry(up: None, berrygate: Berrygate, house: SmallHouse) -> None:
    done = berrygate("bridges", "retry", "home", "7", "8")
    assert (done.code, done.out) == (1, "2 taken, 1 stay\n  8: still bad\n")
    assert berrygate("bridges", "retry", "home", "--all").out == "6 taken, 0 stay\n"
    assert house.tried == [((7, 8), 0), ((), 0), ((), 500)]
    assert berrygate("bridges", "retry", "home").code == 2
    assert berrygate("bridges", "retry", "home", "7", "--all").code == 2


def test_replay(up: None, berrygate: Berrygate, house: SmallHouse, config: Path) -> None:
    assert berrygate("bridges", "replay", "home").code == 2
    assert berrygate("bridges", "replay", "home", "--start", "-1h", "--end", "-2h").code == 2
    showing = subprocess.Popen(
        [sys.executable, "-m", "gateway", "bridges", "replay", "home", "--start", "2000-01-01"],
        env=environment(BERRYGATE_CONFIG=str(config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while house.replay_ is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert berrygate("bridges", "replay", "home", "--start", "-1h").err.startswith("error: bridge")
    assert house.replay_ is not None
    house.replay_ |= {"state": "done", "progress": 1.0}
    out, err = showing.communicate(timeout=30)
    assert (showing.returncode, out) == (0, "replay done: 100%, 1,200 sent, 1 refused\n")
    assert err.startswith("note: the journal reaches back to")
    assert "replay done" in berrygate("bridges").out


def test_a_replay_goes_on_after_ctrl_c(
    up: None, berrygate: Berrygate, house: SmallHouse, config: Path
) -> None:
    showing = subprocess.Popen(
        [sys.executable, "-m", "gateway", "bridges", "replay", "home", "--start", "-1h"],
        env=environment(BERRYGATE_CONFIG=str(config)),
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while house.replay_ is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    showing.send_signal(signal.SIGINT)
    out, _ = showing.communicate(timeout=30)
    assert showing.returncode == 0
    assert "the replay goes on" in out
    assert house.replay_ is not None
    assert house.replay_["state"] == "running"
    assert "stopped" in berrygate("bridges", "replay", "home", "--stop").out
