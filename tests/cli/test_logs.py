"""What logging looks like where it ends: a terminal, systemd's journal, a file."""

import os
import pty
import re
import subprocess
import sys
import tempfile

from tests.support.command import environment

PROGRAM = r"""
import logging, threading, warnings
from gateway import logs
logs.configure()
log = logging.getLogger("gateway.bus")
log.debug("quiet")
log.info("device %s", "soil\n<0>forged \x1b[2J")
log.warning("slow", extra={"seconds": 2.5})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
logging.getLogger("uvicorn.error").warning("noise")
logging.getLogger("paho.mqtt").info("noise")
thread = threading.Thread(target=lambda: [][0], name="writer")
thread.start()
thread.join()
raise RuntimeError("the end")
"""


def piped(**environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(**environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


def terminal(**environ: str) -> str:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment(TERM="xterm", **environ), stderr=slave
    )
    os.close(slave)
    process.wait(30)
    shown = os.read(master, 65536).decode()
    os.close(master)
    return shown


def test_a_record_is_one_line_with_its_priority_for_the_journal() -> None:
    lines = piped(INVOCATION_ID="1")
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<2>", "<2>"]
    assert lines[0] == r"<6>device soil\n<0>forged \x1b[2J logger=gateway.bus"
    assert lines[1] == "<4>slow logger=gateway.bus seconds=2.5"
    assert "ZeroDivisionError" in lines[2]
    assert "thread writer" in lines[3]
    assert "RuntimeError: the end" in lines[4]


def test_fields_with_the_time_elsewhere() -> None:
    lines = piped()
    assert len(lines) == 5
    assert re.match(
        r"timestamp=\S+Z level=warning logger=gateway.bus event=slow seconds=2.5$", lines[1]
    )


def test_a_desktop_sessions_journal_is_not_ours() -> None:
    """Programs started in a desktop session inherit $JOURNAL_STREAM."""
    assert piped(JOURNAL_STREAM="1:2", INVOCATION_ID="1")[0].startswith("timestamp=")
    with tempfile.TemporaryFile("w+") as file:
        status = os.fstat(file.fileno())
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment(JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}"),
            stderr=file,
            check=False,
            timeout=30,
        )
        file.seek(0)
        assert file.readline().startswith("<6>")


def test_people_get_colours_unless_they_don_t_want_them() -> None:
    shown = terminal(INVOCATION_ID="1")
    assert "\x1b[32m" in shown
    assert "\x1b[2J" not in shown
    assert "<6>" not in shown
    plain = terminal(NO_COLOR="1")
    assert "\x1b" not in plain
    assert "ZeroDivisionError" in plain
    assert "noise" not in plain


def test_level_from_the_environment() -> None:
    assert "quiet" in piped(INVOCATION_ID="1", BERRYGATE_LOG="debug")[0]
    assert piped(INVOCATION_ID="1", BERRYGATE_LOG="error")[0].startswith("<3>failed")
    assert len(piped(INVOCATION_ID="1", BERRYGATE_LOG="nonsense")) == 5


FLOOD = r"""
import logging
from gateway import log_limit, logs
log_limit.WINDOW = 0.2
logs.configure()
log = logging.getLogger("gateway.x")
for number in range(50_000):
    log.warning("device %s: bad", number)
    log.debug("quiet")
log.warning("something else")
import time
time.sleep(0.25)
log.warning("device %s: bad", "last")
"""


def test_a_flood_is_counted_and_not_said() -> None:
    """systemd's journal drops what comes too fast (10,000 lines in 30 s), and with it what
    matters."""
    done = subprocess.run(
        [sys.executable, "-c", FLOOD], env=environment(INVOCATION_ID="1"), capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert any("something else" in line for line in lines)
    assert "device last: bad" in lines[-1]
    more = [int(line.rpartition("more=")[2]) for line in lines if "more=" in line]
    assert len(lines) + sum(more) == 50_002
    assert len(lines) < 2_000


def test_where_it_hung_is_said() -> None:
    """The service manager's watchdog ends what hangs with SIGABRT."""
    program = "import signal; from gateway import logs; logs.configure(); signal.raise_signal(6)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == -6
    assert "most recent call first" in done.stderr
