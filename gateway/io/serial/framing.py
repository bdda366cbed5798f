"""Frames in a stream of bytes: where each begins and ends, whatever pieces it comes in. No I/O.

What is no frame comes out too, with its first bytes and why: rubbish between frames, what is too
long, cut off, or has a wrong checksum. What comes out depends on the bytes only, never on how they
were cut into pieces; silence is told by `idle`. Frames that tell themselves where they end are
found by gateway.io.serial.scanning.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

KEPT = 64
"""Bytes that are kept of what is no frame."""


class Piece(NamedTuple):
    """A frame; or, with a `fault` (too_long, noise, checksum, cut), the first bytes of what is
    none. detail: for people."""

    payload: bytes
    fault: str = ""
    detail: str = ""


class Framing(Protocol):
    """What finds frames. waiting: whether one has begun, so that silence may end it."""

    @property
    def waiting(self) -> bool: ...

    def feed(self, data: bytes) -> list[Piece]:
        """The frames that `data` ends, in order. Never raises."""
        ...

    def midway(self) -> None:
        """The bytes that come next may be the rest of a frame that began before we listened."""
        ...

    def idle(self) -> list[Piece]:
        """The line has been quiet for as long as that means something."""
        ...

    def lost(self) -> list[Piece]:
        """The line is gone, and with it the rest of what had begun."""
        ...


def _too_long(first: bytes, longest: int) -> Piece:
    kept = first[: min(KEPT, longest)]
    return Piece(kept, "too_long", f"no end of the frame within {longest} bytes")


def _cut(first: bytes, why: str) -> Piece:
    return Piece(bytes(first[:KEPT]), "cut", why)


_BEFORE = "it began before we listened"
_GONE = "the line was lost in the middle of it"


class _Unfinished:
    """What is kept of a frame that has begun. longest: of one (bytes)."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._skipping = False
        self._midway = False

    @property
    def waiting(self) -> bool:
        """See Framing."""
        return bool(self._rest) or self._skipping

    def midway(self) -> None:
        """See Framing."""
        self._midway = True

    def lost(self) -> list[Piece]:
        """See Framing."""
        rest, self._rest = self._rest, b""
        skipping, self._skipping, self._midway = self._skipping, False, False
        return [_cut(rest, _GONE)] if rest and not skipping else []


class Delimited(_Unfinished):
    """Frames with a delimiter behind each, which is not part of it. Empty ones are left out.

    end: the delimiter; b"" for lines, which end with \\n, \\r or both. longest: of a frame (bytes).
    quiet_ends: whether silence ends a frame too.
    """

    def __init__(self, end: bytes, longest: int, *, quiet_ends: bool = False) -> None:
        super().__init__(longest)
        self._lines = not end
        self._end = end or b"\n"
        self._quiet_ends = quiet_ends

    def feed(self, data: bytes) -> list[Piece]:
        """See Framing."""
        if self._lines:
            data = data.replace(b"\r", b"\n")
        *frames, self._rest = (self._rest + data).split(self._end)
        pieces = [piece for frame in frames for piece in self._ended(frame)]
        # Half of the delimiter may be there already: it is no part of the frame.
        if len(self._rest) >= self._longest + len(self._end):
            if not self._skipping:
                pieces.append(_too_long(self._rest, self._longest))
            self._skipping, self._midway = True, False
            self._rest = self._rest[len(self._rest) - len(self._end) + 1 :]
        return pieces

    def _ended(self, frame: bytes) -> Iterator[Piece]:
        skipping, self._skipping = self._skipping, False
        midway, self._midway = self._midway, False
        if skipping or not frame:
            return
        if len(frame) > self._longest:
            yield _too_long(frame, self._longest)
        elif midway:
            yield _cut(frame, _BEFORE)
        else:
            yield Piece(frame)

    def idle(self) -> list[Piece]:
        """See Framing."""
        if not self._quiet_ends:
            return []
        frame, self._rest = self._rest, b""
        return list(self._ended(frame))


class Silence(_Unfinished):
    """Frames with silence between them, as `idle` tells it. longest: of a frame (bytes)."""

    def feed(self, data: bytes) -> list[Piece]:
        """See Framing."""
        if self._skipping:
            return []
        self._rest += data
        if len(self._rest) <= self._longest:
            return []
        rest, self._rest, self._skipping = self._rest, b"", True
        return [_too_long(rest, self._longest)]

    def idle(self) -> list[Piece]:
        """See Framing."""
        rest, self._rest, self._skipping = self._rest, b"", False
        midway, self._midway = self._midway, False
        if not rest:
            return []
        return [_cut(rest, _BEFORE) if midway else Piece(rest)]
