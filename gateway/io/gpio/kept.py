"""A few numbers in a file that outlive the process, however it ends: the count of a meter.

They are written where they stand, within WRITTEN of each change, which outlives a process that is
killed; and told to the disk within SYNCED, which outlives a power cut. The kernel writes what is
changed twice a minute anyway: some blocks a minute are what a card has to bear, and only while
something changes.

The file has two places. What is told to the disk stays as it is while the other one is written,
so that a cut in the middle of a write leaves it.
"""

import asyncio
import logging
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from gateway.io.blocking import Blocking

log = logging.getLogger(__name__)

WRITTEN = 0.05
"""How long a change may wait to be written (s): what a killed process may cost."""
SYNCED = 60.0
"""How long a change may wait to be told to the disk (s): what a power cut may cost."""
_PATIENCE = 10.0
_PLACE = 8_192
_HEAD = struct.Struct("<4sIQI")  # magic, CRC of the rest, number, length
_MAGIC = b"BgK1"


class Kept:
    """See the module. path: of the file; it is made with the first change. values: by name; change
    them with `put`. trouble: why they cannot be kept at the moment, or "". lost: whether the file
    was damaged and nothing of it could be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = Blocking(f"kept-{path.stem}")
        self._fd = -1
        self._number = 0
        self._place = 0
        self._synced = -SYNCED
        self._changed = self._unsynced = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_soon = False  # whether the timer is for a write, and not for the disk only
        self._task: asyncio.Task[None] | None = None
        self.values: dict[str, Any] = {}
        self.trouble = ""
        self.lost = False

    def load(self) -> None:
        """Read the file, if there is one. Never raises."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self._tell(f"{self._path} cannot be read: {error.strerror}")
            return
        if not data.strip(b"\0"):
            return  # made, and never written
        places = [_read(data[at : at + _PLACE]) for at in (0, _PLACE)]
        found = [(number, at) for at, (number, _) in enumerate(places) if number]
        if not found:
            self._damaged()
            return
        self._number, at = max(found)
        self.values = places[at][1]
        self._place = 1 - at

    def _damaged(self) -> None:
        self.lost = True
        log.error("%s is damaged: what was counted is lost", self._path)
        with suppress(OSError):
            self._path.replace(self._path.with_suffix(".damaged"))

    def put(self, name: str, value: Any) -> None:
        """Keep a value that JSON can hold; on the loop."""
        if self.values.get(name) == value:
            return
        self.values[name] = value
        self._changed = True
        if self._task is None and not self._is_soon:
            self._again(WRITTEN)

    def _again(self, seconds: float) -> None:
        self._stop_timer()
        self._is_soon = self._changed
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_soon = False

    def _begin(self) -> None:
        self._stop_timer()
        self._task = asyncio.create_task(self._save(), name=f"keep {self._path.stem}")

    async def _save(self) -> None:
        loop = asyncio.get_running_loop()
        sync = loop.time() - self._synced >= SYNCED
        pause = WRITTEN
        try:
            data = self._packed()
            await self._threads.call(lambda: self._write(data, sync), _PATIENCE)
        except (OSError, TimeoutError) as error:
            self._changed, pause = True, 1.0
            self._tell(f"{self._path} cannot be written: {_reason(error)}")
        else:
            self._tell("")
            if sync:
                self._synced = loop.time()
        self._task = None
        if self._changed:
            self._again(pause)
        elif self._unsynced:
            self._again(self._synced + SYNCED - loop.time())

    async def close(self) -> None:
        """Write and tell the disk what is left. Never raises but when cancelled."""
        self._stop_timer()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._stop_timer()
        if self._changed or self._unsynced:
            try:
                data = self._packed()
                await self._threads.call(lambda: self._write(data, True), _PATIENCE)
            except (OSError, TimeoutError) as error:
                self._tell(f"{self._path} cannot be written: {_reason(error)}")
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _packed(self) -> bytes:
        self._changed = False
        self._number += 1
        body = msgspec.json.encode(self.values)
        if len(body) > _PLACE - _HEAD.size:
            raise OSError(27, "too much to keep")
        rest = _HEAD.pack(_MAGIC, 0, self._number, len(body))[8:] + body
        return _MAGIC + struct.pack("<I", zlib.crc32(rest)) + rest

    def _write(self, data: bytes, sync: bool) -> None:
        """In a thread."""
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Room now: a disk that is full later must not cost a count.
            os.posix_fallocate(self._fd, 0, 2 * _PLACE)
            _sync_folder(self._path.parent)
        os.pwrite(self._fd, data, self._place * _PLACE)
        self._unsynced = True
        if sync:
            os.fsync(self._fd)
            self._unsynced = False
            self._place = 1 - self._place

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("%s", trouble or f"{self._path} can be written again")
        self.trouble = trouble


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(place: bytes) -> tuple[int, dict[str, Any]]:
    """The number and the values of one place; 0 for none."""
    if len(place) < _HEAD.size:
        return 0, {}
    magic, crc, number, length = _HEAD.unpack_from(place)
    if magic != _MAGIC or zlib.crc32(place[8 : _HEAD.size + length]) != crc:
        return 0, {}
    try:
        values: Mapping[str, Any] = msgspec.json.decode(place[_HEAD.size : _HEAD.size + length])
    except msgspec.DecodeError:
        return 0, {}
    return number, dict(values)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "no answer from the disk"
