"""Simulated I2C buses below the real smbus2: its ioctl calls end here instead of in a kernel.

A bus is a file: in it are the addresses of the chips that are plugged in ("76 44"). Take one out,
and nobody acknowledges there; put it in again, and it begins as after power-on. Without the file
the adapter is gone. So a test can pull chips off a gateway in another process.
"""

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import smbus2.smbus2 as real
from smbus2 import I2cFunc

from tests.support.i2c_chips import Chip, Nack

FUNCTIONS = int(I2cFunc.I2C)
"""What an adapter can do."""


class Wires:
    """Buses, by their files. transfers: how many were made, by address. fault: called before each
    with the address; may raise OSError, or take its time."""

    def __init__(self) -> None:
        self.transfers: Counter[int] = Counter()
        self.functions = FUNCTIONS
        self.fault: Callable[[int], None] = lambda address: None
        self._buses: dict[str, dict[int, Chip]] = {}
        self._out: set[tuple[str, int]] = set()

    def bus(self, path: Path, chips: Mapping[int, Chip]) -> Path:
        """A bus with all of these plugged in."""
        self._buses[str(path)] = dict(chips)
        plug(path, *chips)
        return path

    def ioctl(self, fd: int, request: int, data: Any) -> Any:
        """In place of fcntl.ioctl in smbus2."""
        path = str(Path(f"/proc/self/fd/{fd}").readlink()).removesuffix(" (deleted)")
        if path not in self._buses:
            return fcntl.ioctl(fd, request, data)
        if request == real.I2C_FUNCS:
            data.value = self.functions
        elif request == real.I2C_RDWR:
            if not os.fstat(fd).st_nlink:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            for message in data.msgs[: data.nmsgs]:
                self._transfer(path, message)
        else:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return 0

    def _transfer(self, path: str, message: Any) -> None:
        address = message.addr
        self.transfers[address] += 1
        self.fault(address)
        try:
            chip = self._chip(path, address)
            if message.flags & real.I2C_M_RD:
                for n, byte in enumerate(chip.read(message.len)):
                    message.buf[n] = bytes((byte,))
            else:
                chip.write(bytes(message))
        except Nack:
            raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO)) from None

    def _chip(self, path: str, address: int) -> Chip:
        there = {int(each, 16) for each in Path(path).read_text().split()}
        for other in self._buses[path].keys() - there:
            self._out.add((path, other))
        if address not in there or address not in self._buses[path]:
            raise Nack
        chip = self._buses[path][address]
        if (path, address) in self._out:
            self._out.discard((path, address))
            chip.power_on()
        return chip


def plug(path: Path, *addresses: int) -> None:
    """Have these chips on a bus, and no others."""
    text = " ".join(f"{address:02x}" for address in addresses)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    # In place, and never empty in between: a bus that is open stays open.
    os.pwrite(fd, text.ljust(400).encode(), 0)
    os.close(fd)
