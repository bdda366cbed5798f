"""A machine whose clock can be wrong, be set and jump, and that can boot again, for a gateway."""

import mmap
import os
import struct
import time
import uuid
from pathlib import Path

from tests.support.gateway import Gateway

_SHIFTED = Path(__file__).parent / "shifted"
_SETUP = (
    "mount --bind {0}/run /run && mount --bind {0}/boot_id /proc/sys/kernel/random/boot_id"
    ' && exec "$@"'
)


class Machine:
    """What a gateway sees of the machine: wall clock, CLOCK_BOOTTIME, boot id, timesyncd.

    The clocks are shifted inside the process, boot id and /run in a mount namespace of its own.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "run/systemd/timesync").mkdir(parents=True)
        shifts = directory / "shifts"
        shifts.write_bytes(bytes(16))
        self._file = shifts.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 16)
        self.boot()

    def carry(self, house: Gateway) -> Gateway:
        """Let this gateway run on the machine; it needs the right to make a mount namespace."""
        setup = _SETUP.format(self._directory)
        house.prefix = ["unshare", "-m", "sh", "-c", setup, "sh"]
        house.environment = {
            "BERRYGATE_SHIFT": str(self._directory / "shifts"),
            "PYTHONPATH": f"{_SHIFTED}{os.pathsep}{Path(__file__).parents[2]}",
        }
        return house

    def boot(self) -> None:
        """Boot again: another id, CLOCK_BOOTTIME begins at 20 s, no time service has spoken."""
        (self._directory / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (self._directory / "run/systemd/timesync/synchronized").unlink(missing_ok=True)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        struct.pack_into("<q", self._map, 8, 20 * 10**9 - now)

    def wall(self, shift: float) -> None:
        """The wall clock is off by `shift` seconds."""
        struct.pack_into("<q", self._map, 0, round(shift * 1e9))

    def synchronised(self) -> None:
        """timesyncd says that it has set the clock; as it does it, after having set it."""
        (self._directory / "run/systemd/timesync/synchronized").touch()
