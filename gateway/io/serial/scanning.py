"""Frames that tell themselves where they end: by their size, a length in front, or marks around
them. No I/O.

After rubbish the next frame is looked for byte by byte.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gateway.io.serial.checksums import Checksum, Order
from gateway.io.serial.framing import KEPT, Piece

NOISE = 4_096
"""Rubbish that does not end is told of after so many bytes."""


class Shape(Protocol):
    """What frames look like that tell themselves where they end. start: what each begins with."""

    @property
    def start(self) -> bytes: ...

    def look(self, buffer: bytearray, at: int) -> "Frame | Reject | None":
        """What is at `at`, where `start` is: a frame, none, or None while that cannot be told."""
        ...


class Frame(NamedTuple):
    """A frame of `size` bytes as it came. first, last: where its payload is in it."""

    size: int
    first: int
    last: int


class Reject(NamedTuple):
    """No frame begins here. size: how many bytes need not be looked at again."""

    fault: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Fixed:
    """Frames of `size` bytes each, `start` included."""

    size: int
    start: bytes = b""

    def look(self, buffer: bytearray, at: int) -> "Frame | Reject | None":
        """See Shape."""
        if len(buffer) - at < self.size:
            return None
        return Frame(self.size, len(self.start), self.size)


@dataclass(frozen=True, slots=True)
class Prefixed:
    """Frames with their length in front, behind `start`, in `width` bytes.

    counted: bytes of the frame up to the end of the length that the length counts too. extra:
    bytes at the end that it does not count. longest: of a frame, all in all.
    """

    width: int
    order: Order
    longest: int
    start: bytes = b""
    counted: int = 0
    extra: int = 0

    def look(self, buffer: bytearray, at: int) -> "Frame | Reject | None":
        """See Shape."""
        head = len(self.start) + self.width
        if len(buffer) - at < head:
            return None
        told = int.from_bytes(buffer[at + head - self.width : at + head], self.order)
        size = head + told - self.counted + self.extra
        if size > self.longest:
            return Reject("too_long")
        if size < head + self.extra:
            return Reject("noise")
        if len(buffer) - at < size:
            return None
        return Frame(size, head, size)


@dataclass(frozen=True, slots=True)
class Marked:
    """Frames between `start` and `end`, neither of which is ever inside of one. longest: of what
    is between them."""

    start: bytes
    end: bytes
    longest: int

    def look(self, buffer: bytearray, at: int) -> "Frame | Reject | None":
        """See Shape."""
        first = at + len(self.start)
        window = first + self.longest + len(self.end)
        last = buffer.find(self.end, first, window)
        if last < 0:
            return Reject("too_long") if len(buffer) >= window else None
        again = buffer.find(self.start, at + 1, last)
        if again >= 0:  # the end of the first one never came
            return Reject("noise", again - at)
        size = last + len(self.end) - at
        return Frame(size, len(self.start), size - len(self.end))


class Scanner:
    """Frames of a shape, found again after rubbish byte by byte.

    checksum: what frames must have to be ones. keep: give them out as they came, and not only what
    is between start, length, checksum and end.
    """

    def __init__(
        self, shape: Shape, checksum: Checksum | None = None, *, keep: bool = False
    ) -> None:
        self._shape = shape
        self._checksum = checksum
        self._keep = keep
        self._buffer = bytearray()
        self._noise = b""  # the first bytes of it
        self._noisy = 0  # how many bytes of it there are
        self._fault = ""

    @property
    def waiting(self) -> bool:
        """See Framing."""
        return bool(self._buffer or self._noisy)

    def midway(self) -> None:
        """See Framing. Nothing to do: what is no frame is found out anyway."""

    def feed(self, data: bytes) -> list[Piece]:
        """See Framing."""
        self._buffer += data
        pieces: list[Piece] = []
        at = self._scan(pieces)
        del self._buffer[:at]
        return pieces

    def _scan(self, pieces: list[Piece]) -> int:
        """Go as far as can be told; where that is."""
        at, buffer, start = 0, self._buffer, self._shape.start
        while at < len(buffer):
            begin = self._next(at)
            self._reject("noise", at, begin, pieces)
            at = begin
            if len(buffer) - at < max(len(start), 1):
                break
            found = self._shape.look(buffer, at)
            if isinstance(found, Frame):
                found = self._checked(found, at, pieces)
            if found is None:
                break
            if isinstance(found, Reject):
                self._reject(found.fault, at, at + found.size, pieces)
            at += found.size
        return at

    def _next(self, at: int) -> int:
        """The first place from `at` on where a frame may begin, though not all of its start is
        there yet."""
        buffer, start = self._buffer, self._shape.start
        found = buffer.find(start, at)
        if found >= 0:
            return found
        for place in range(max(at, len(buffer) - len(start) + 1), len(buffer)):
            if start.startswith(buffer[place:]):
                return place
        return len(buffer)

    def _checked(self, frame: Frame, at: int, pieces: list[Piece]) -> Frame | Reject:
        last = frame.last
        if self._checksum is not None:
            last -= self._checksum.width
            if last < frame.first or not self._checksum.fits(
                bytes(self._buffer[at : at + frame.last])
            ):
                return Reject("checksum")
        first, last = (0, frame.size) if self._keep else (frame.first, last)
        self._tell(pieces)
        if last > first:
            pieces.append(Piece(bytes(self._buffer[at + first : at + last])))
        return frame

    def _reject(self, fault: str, begin: int, end: int, pieces: list[Piece]) -> None:
        """Bytes that belong to no frame."""
        while begin < end:
            size = min(end - begin, NOISE - self._noisy)
            if len(self._noise) < KEPT:
                kept = self._buffer[begin : begin + min(size, KEPT - len(self._noise))]
                self._noise += bytes(kept)
            self._noisy += size
            if fault != "noise":
                self._fault = self._fault or fault
            begin += size
            if self._noisy >= NOISE:
                self._tell(pieces)

    def _tell(self, pieces: list[Piece]) -> None:
        """Tell of the rubbish so far."""
        if self._noisy:
            fault = self._fault or "noise"
            pieces.append(Piece(self._noise, fault, f"{self._noisy} bytes that are no frame"))
        self._noise, self._noisy, self._fault = b"", 0, ""

    def idle(self) -> list[Piece]:
        """See Framing. What had begun is none; a whole one may have come since."""
        pieces: list[Piece] = []
        # Without either, anything looks like a frame.
        recognised = bool(self._shape.start) or self._checksum is not None
        while self._buffer:
            size = 1 if recognised else len(self._buffer)
            self._reject("cut", 0, size, pieces)
            del self._buffer[:size]
            del self._buffer[: self._scan(pieces)]
        self._tell(pieces)
        return pieces

    def lost(self) -> list[Piece]:
        """See Framing."""
        return self.idle()
