"""How much of the file system the journal may take, and what is let go when it is full."""

import errno
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

_SHARE = 16  # of a small disk the ballast takes at most this part
_FIT = 8  # segments that should fit into what there is
_SMALLEST = 1_000_000  # a segment is not made smaller than this for want of room (bytes)
_FLOOR = 2  # segments that are kept however full the disk is: the current one and one before it


class Room:
    """See the module. quota: bytes that the journal may take at the moment: what is configured,
    less where the file system has not that much.

    The ballast is a file that takes room for nothing. On a full disk SQLite cannot even delete:
    then the ballast goes, and what it took is left to the databases; the journal asks for no
    segment out of it. It is made again when there is plenty of room.
    """

    def __init__(self, directory: Path, ballast: int) -> None:
        self.quota = 0
        self._directory = directory
        self._path = directory / "ballast"
        self._wanted = ballast
        self._lowered = False

    @property
    def ballast(self) -> int:
        """Bytes that can be let go."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def fitting(self, used: int, most: int) -> int:
        """Bytes that a segment should take, `most` where there is room: on a small disk one must
        fit several times."""
        try:
            room = used + shutil.disk_usage(self._directory).free
        except OSError:
            return most
        return min(most, max(room // _FIT, _SMALLEST))

    def look(self, used: int, segment: int, max_size: int, spare: int = 0) -> None:
        """Measure again. used: bytes of all segments; segment: bytes of the next one; spare: bytes
        of a file that becomes the next one."""
        try:
            disk = shutil.disk_usage(self._directory)
        except OSError as error:
            log.error("journal: its disk cannot be measured: %s", error)
            self.quota = self.quota or max_size
            return
        wanted = min(self._wanted, disk.total // _SHARE)
        free = self._trim(wanted, disk.free, segment)
        # Room for the next segment has to be there before it is needed: a segment that goes
        # early costs what is oldest, a disk that refuses holds every device back.
        self.quota = max(min(max_size, used + free + spare - segment), _FLOOR * segment)
        if (self.quota < max_size) != self._lowered:
            self._lowered = not self._lowered
            self._tell(max_size)

    def admit(self, size: int) -> None:
        """Raises OSError where a new segment would take what the databases need."""
        wanted = min(self._wanted, shutil.disk_usage(self._directory).total // _SHARE)
        if wanted and not self.ballast:
            free = shutil.disk_usage(self._directory).free
            if free < size + wanted:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _trim(self, wanted: int, free: int, segment: int) -> int:
        """Let the ballast go or make it again; what is free for the journal then."""
        held = self.ballast
        if held and free < wanted // 8:
            log.warning("journal: the disk is full: its ballast is let go for the databases")
            self._path.unlink(missing_ok=True)
            held = 0
        elif wanted and not held and free > 2 * wanted + segment:
            held = self._make(wanted)
            free -= held
        return free if held else free - wanted

    def _make(self, size: int) -> int:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(fd, 0, size)
            finally:
                os.close(fd)
        except OSError as error:
            log.warning("journal: no ballast can be made: %s", error)
            self._path.unlink(missing_ok=True)
            return 0
        return size

    def _tell(self, max_size: int) -> None:
        if self._lowered:
            log.warning(
                "journal: the disk has room for %d MB of the %d MB of journal.max_size: the "
                "oldest readings go earlier; make room, or lower journal.max_size",
                self.quota // 1_000_000, max_size // 1_000_000,
            )  # fmt: skip
        else:
            log.info("journal: there is room for all of journal.max_size again")
