"""An open serial port on the event loop: bytes as they come, and writing.

pyserial sets the port up; reading is ours, without a thread. Bytes are let gather for a moment
between two reads: waking up for each is what costs.
"""

import asyncio
import errno
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

import serial

from gateway.core.errors import BerrygateError, ConfigError, Denied, Unavailable
from gateway.io.blocking import Blocking
from gateway.io.serial.names import holder

_GATHER = 0.005  # s; at 115,200 baud 58 bytes
MOST = 1_024
"""Bytes in one read: to look for frames in so much rubbish holds nothing up."""
_PATIENCE = 10.0  # how long an adapter may take to be opened or closed (s)


@dataclass(frozen=True, slots=True)
class PortOptions:
    """How a port is set up; parity as its first letter, in upper case. flow: none, rtscts,
    dsrdtr or xonxoff. prompt: bytes are wanted as soon as they come."""

    baudrate: int = 9_600
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    flow: str = "none"
    exclusive: bool = True
    prompt: bool = False


class OpenPort:
    """See the module. heard: called with what was read; ended: once, with why, when the port is
    gone. Both on the loop."""

    def __init__(
        self,
        handle: serial.Serial,
        threads: Blocking,
        heard: Callable[[bytes], None],
        ended: Callable[[str], None],
        gather: float,
    ) -> None:
        self._handle = handle
        self._threads = threads
        self._heard = heard
        self._ended = ended
        self._gather = gather
        self._fd = handle.fileno()
        self._loop = asyncio.get_running_loop()
        self._held = self._over = self._full = False
        self._loop.add_reader(self._fd, self._ready)

    def _ready(self) -> None:
        if self._read() and self._gather and not (self._held or self._full):
            self._loop.remove_reader(self._fd)
            self._loop.call_later(self._gather, self._listen)

    def _listen(self) -> None:
        if not (self._held or self._over):
            self._loop.add_reader(self._fd, self._ready)

    def _read(self) -> bool:
        """Hand on what is there; whether anything was."""
        if self._over:
            return False
        try:
            data = os.read(self._fd, MOST)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(f"the port is gone: {error.strerror}")
            return False
        if not data:
            self._end("the port is gone: unplugged?")
            return False
        self._full = len(data) == MOST
        self._heard(data)
        return True

    def look(self) -> bool:
        """Read what has come while nobody looked; whether anything has."""
        return not self._held and self._read()

    def hold(self) -> None:
        """Read no more for now, so that flow control stops the sender."""
        self._held = True
        self._loop.remove_reader(self._fd)

    def go_on(self) -> None:
        """Read again."""
        if self._held:
            self._held = False
            self._listen()

    async def write(self, data: bytes, timeout: float) -> None:
        """Hand `data` to the port. Raises Unavailable."""
        try:
            async with asyncio.timeout(timeout):
                while data and not self._over:
                    data = data[await self._written(data) :]
        except TimeoutError:
            reason = f"the port takes nothing within {timeout:g} s"
            raise Unavailable(reason, fix="see whether flow control is wired as set") from None
        except OSError as error:
            self._end(f"the port is gone: {error.strerror}")
        if self._over:
            raise Unavailable("the port is gone")

    async def _written(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            pass
        room = asyncio.Event()
        self._loop.add_writer(self._fd, room.set)
        try:
            await room.wait()
        finally:
            if not self._over:
                self._loop.remove_writer(self._fd)
        return 0

    def drop_input(self) -> None:
        """Forget what has come and was not read."""
        with suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)

    def _end(self, reason: str) -> None:
        if not self._over:
            self._stop()
            self._ended(reason)

    def _stop(self) -> None:
        self._over = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)

    async def close(self) -> None:
        """Give the port back. Never raises but when cancelled."""
        self._stop()
        with suppress(TimeoutError):
            await self._threads.call(lambda: _close(self._handle), _PATIENCE)


async def open_port(
    path: str,
    options: PortOptions,
    threads: Blocking,
    heard: Callable[[bytes], None],
    ended: Callable[[str], None],
) -> OpenPort:
    """Open and set up a port. Raises Unavailable, Denied where we may not, and ConfigError for
    settings that it cannot have."""
    try:
        # In a thread: an adapter that hangs takes seconds.
        handle = await threads.call(lambda: _open(path, options), _PATIENCE)
    except TimeoutError:
        fix = "unplug it and plug it in again"
        raise Unavailable(f"{path} does not open within {_PATIENCE:g} s", fix=fix) from None
    return OpenPort(handle, threads, heard, ended, 0.0 if options.prompt else _GATHER)


def _open(path: str, options: PortOptions) -> serial.Serial:
    try:
        handle = serial.Serial(
            path,
            options.baudrate,
            options.bytesize,
            options.parity,
            options.stopbits,
            rtscts=options.flow == "rtscts",
            dsrdtr=options.flow == "dsrdtr",
            xonxoff=options.flow == "xonxoff",
            exclusive=options.exclusive or None,
            # One byte at least: else a read of 0 bytes means both "none yet" and "unplugged".
            inter_byte_timeout=0,
        )
    except (OSError, termios.error, ValueError) as error:
        raise _reason(path, options, error) from error
    try:
        _tune(handle.fileno(), options)
    except (OSError, termios.error) as error:
        _close(handle)
        raise _reason(path, options, error) from error
    return handle


def _tune(fd: int, options: PortOptions) -> None:
    """What pyserial leaves as it is."""
    mode = termios.tcgetattr(fd)
    mode[0] &= ~termios.BRKINT  # a break on the line would throw away what has come
    if options.parity != "N":
        mode[0] |= termios.INPCK  # else bytes with the wrong parity pass; so they are read as 0
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    if options.exclusive:
        ioctl(fd, termios.TIOCEXCL)  # the lock only keeps those out who ask for it


def _close(handle: serial.Serial) -> None:
    with suppress(OSError, termios.error):
        ioctl(handle.fileno(), termios.TIOCNXCL)
    with suppress(OSError, termios.error):
        # What was not sent would be waited for, up to 30 s.
        termios.tcflush(handle.fileno(), termios.TCOFLUSH)
    with suppress(OSError):
        handle.close()


def _reason(path: str, options: PortOptions, error: Exception) -> BerrygateError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError):
        fix = "set baudrate, bytesize, parity and stopbits to what the adapter can do"
        return ConfigError(f"{path} cannot be set up at {options.baudrate} baud: {error}", fix=fix)
    if number in (errno.EACCES, errno.EPERM):
        return Denied(f"we may not use {path}", fix=_group_fix(path))
    if number in (errno.EBUSY, errno.EAGAIN):
        who = holder(path) or "another program"
        return Unavailable(f"{path} is in use by {who}", fix="stop it, or set port to another one")
    if number == errno.ENOENT:
        return Unavailable(f"{path} is not there", fix="plug it in, or correct port")
    return Unavailable(f"{path} cannot be opened: {error}", fix="see that it is a serial port")


def _group_fix(path: str) -> str:
    try:
        group = Path(path).group()
    except (KeyError, OSError):
        group = "dialout"
    group = "dialout" if group == "root" else group
    return f"sudo usermod -aG {group} USER for the gateway's user, then restart the gateway"
