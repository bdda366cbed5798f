"""Run as the service, with everything its unit forbids: what must be possible, and what must not.

A container has no GPIO, I2C or SPI; what is shown here is that the unit closes neither `/dev` nor
terminals, nor sysfs for reading, and lets SQLite and a child process work.
"""

import ctypes
import os
import socket
import sqlite3
import subprocess
import sys
import termios
import tty
from collections.abc import Callable
from pathlib import Path

line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
tty.setraw(line)
settings = termios.tcgetattr(line)
settings[4] = settings[5] = termios.B9600
termios.tcsetattr(line, termios.TCSANOW, settings)
os.write(line, b"weight?")
answer = os.read(line, 100)
assert answer == b"WEIGHT?", answer

assert Path("/sys/class").is_dir()  # 1-Wire is read there
assert list(Path("/dev").glob("tty*"))
assert subprocess.run(["/usr/sbin/mosquitto", "-h"], capture_output=True, check=False).stdout
assert ctypes.CDLL(None).prctl(1, 15) == 0  # PR_SET_PDEATHSIG, for the broker's child

state = Path(os.environ["STATE_DIRECTORY"]) / "probe.db"
with sqlite3.connect(state) as database:
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE t (x)")
database.close()
for file in state.parent.glob("probe.db*"):
    file.unlink()

socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()  # CoAP


def refused(what: str, attempt: Callable[[], object]) -> None:
    """`attempt` must fail."""
    try:
        attempt()
    except (OSError, PermissionError):
        return
    sys.exit(f"possible, and should not be: {what}")


def unshared() -> None:
    """unshare(CLONE_NEWUSER)"""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")


refused("writing outside", lambda: Path("/usr/probe").touch())
refused("reading /root", lambda: list(Path("/root").iterdir()))
refused("raw sockets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
refused("changing the owner", lambda: os.chown("/tmp", 0, 0))
refused("a namespace of its own", unshared)
refused("kernel settings", lambda: Path("/proc/sys/kernel/hostname").write_text("x"))
other = [path for path in Path("/proc").glob("[0-9]*") if path.stat().st_uid != os.geteuid()]
assert not other, other
print("devices: ok")
