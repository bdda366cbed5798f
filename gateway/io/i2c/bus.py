"""An I2C bus: transfers with the chips on it, one after the other in one thread.

By Linux's i2c-dev (Documentation/i2c/dev-interface, I2C_RDWR), through smbus2.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from smbus2 import I2cFunc, SMBus, i2c_msg

from gateway.core.errors import Unavailable
from gateway.io.i2c.faults import BusLost, failed, unopened
from gateway.io.single import Single

T = TypeVar("T")

_PATIENCE = 10.0  # how long a measurement may take; adapters give a transfer up after 1 s (s)
_HANGS = f"a transfer has not come back within {_PATIENCE:g} s"
_HANGS_FIX = "restart the machine; then take chips off until it does not come again"


class Bus:
    """See the module. path: the bus, such as /dev/i2c-1. root: where the file system of kernel and
    devices begins; another one in tests."""

    def __init__(self, path: str, name: str, root: Path = Path("/")) -> None:
        self.path = path
        self._root = root
        self._calls = Single(name, _PATIENCE, _HANGS, _HANGS_FIX)
        self._smbus: SMBus | None = None

    @property
    def is_open(self) -> bool:
        """Whether transfers can be made."""
        return self._smbus is not None

    async def open(self) -> None:
        """Raises Unavailable, or Denied where we may not."""
        self._smbus = await self.run(lambda: _open(self.path, self._root))

    async def run(self, function: Callable[[], T]) -> T:
        """Call something that makes transfers, in the bus's thread. Raises what it raises, and
        Unavailable where it hangs."""
        return await self._calls.run(function)

    async def close(self) -> None:
        """Give it back, once no transfer is on its way. Never raises but when cancelled."""
        smbus, self._smbus = self._smbus, None
        if smbus is not None:
            with suppress(Unavailable, OSError):
                await self._calls.last(smbus.close)

    def port(self, address: int) -> "BusPort":
        """The way to a chip."""
        return BusPort(self, address)

    def transfer(self, address: int, *messages: Any) -> None:
        """Blocks. Raises NoAnswer, BusLost or Unavailable."""
        if self._smbus is None:
            raise BusLost("the bus is closed")
        try:
            self._smbus.i2c_rdwr(*messages)
        except OSError as error:
            raise failed(self.path, address, error) from error

    def holder(self, address: int) -> str:
        """The kernel's driver that has a chip, or "": transfers of ours would disturb it."""
        number = Path(self.path).resolve().name.removeprefix("i2c-")
        driver = self._root / f"sys/bus/i2c/devices/{number}-{address:04x}/driver"
        try:
            return driver.resolve(strict=True).name
        except OSError:
            return ""


class BusPort:
    """The way to one chip; see gateway.io.i2c.chips.chip.Port."""

    def __init__(self, bus: Bus, address: int) -> None:
        self._bus = bus
        self._address = address

    def write(self, data: bytes) -> None:
        """One transfer to the chip."""
        self._bus.transfer(self._address, i2c_msg.write(self._address, data))

    def read(self, count: int) -> bytes:
        """One transfer from the chip."""
        message: Any = i2c_msg.read(self._address, count)  # smbus2's own type says `str`
        self._bus.transfer(self._address, message)
        return bytes(message)

    def ask(self, data: bytes, count: int) -> bytes:
        """Write, and read without letting go of the bus in between."""
        message: Any = i2c_msg.read(self._address, count)
        self._bus.transfer(self._address, i2c_msg.write(self._address, data), message)
        return bytes(message)


def _open(path: str, root: Path) -> SMBus:
    try:
        smbus = SMBus(path)
    except OSError as error:
        raise unopened(path, root, error) from error
    if not smbus.funcs & I2cFunc.I2C:
        smbus.close()
        message = f"{path} is an adapter for SMBus only"
        raise Unavailable(message, fix="use an adapter that makes plain I2C transfers")
    return smbus
