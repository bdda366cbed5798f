"""The section `framing` of devices on a line."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.core.settings import Duration, Settings, Size, wrong
from gateway.io.serial.checksums import KINDS, Checksum
from gateway.io.serial.framing import Delimited, Framing, Silence
from gateway.io.serial.scanning import Fixed, Marked, Prefixed, Scanner, Shape
from gateway.io.wire import Wire, wire_bytes

LONGEST = 4_096
"""The longest frame (bytes), unless told otherwise."""
# Tried at every byte of rubbish, longer ones cost too much.
_CHECKED, _CHECKED_ANYWHERE = 512, 256
_QUIET = 0.5  # after so much silence (s) half a frame is given up, where nothing else tells


class ChecksumSettings(Settings):
    """A checksum at the end of each frame, before the end mark."""

    type: Literal[
        "none", "xor", "sum8", "sum8-inverted", "sum16", "crc16-modbus", "crc16-ccitt",
        "crc16-xmodem",
    ] = "none"  # fmt: skip
    """Which one. It is counted over all of the frame before it."""
    skip: Annotated[int, Field(ge=0, le=64)] = 0
    """So many bytes at the beginning of the frame are not counted."""
    order: Literal["big", "little"] | None = None
    """Which of two bytes comes first; by default little for crc16-modbus, else big."""

    def build(self) -> Checksum | None:
        """See gateway.io.serial.checksums."""
        if self.type == "none":
            return None
        function, width, usual = KINDS[self.type]
        return Checksum(function, width, self.order or usual, self.skip)


class FramingSettings(Settings):
    """Where frames begin and end. Bytes are text with escapes (`\\r\\n`), or `hex:02 03`."""

    type: Literal["lines", "delimiter", "fixed", "length", "markers", "gap"] = "lines"
    """lines: ended by \\n, \\r or both. delimiter: ended by `end`. fixed: of `length` bytes.
    length: with their length in front. markers: between `start` and `end`. gap: with silence
    between."""
    start: Wire = ""
    """What each frame begins with (markers; and, where there is such a thing, fixed and length)."""
    end: Wire = ""
    """What ends each frame (delimiter, markers)."""
    length: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Bytes of a frame (fixed), with start and checksum."""
    size: Literal[1, 2, 4] = 1
    """Bytes of the length in front (length)."""
    order: Literal["big", "little"] = "big"
    """Which byte of the length comes first (length)."""
    counts: Literal["rest", "itself", "all"] = "rest"
    """What the length in front counts: what comes behind it; that and itself; all of the frame."""
    extra: Annotated[int, Field(ge=0, le=64)] = 0
    """Bytes at the end that the length in front leaves out, such as a checksum (length)."""
    max: Annotated[Size, Field(ge=1, le=256_000)] | None = None
    """The longest frame: 4096B by default, with a checksum 512B, or 256B without `start`."""
    gap: Duration | None = None
    """Silence that ends a frame (lines, delimiter, gap), or after which half a frame is given up
    (fixed and length, 500ms by default; markers)."""
    checksum: ChecksumSettings = ChecksumSettings()
    """A checksum at the end of each frame (fixed, length, markers)."""
    keep: bool = False
    """Give the codec frames as they came, with start, length, checksum and end; without it only
    what is between (fixed, length, markers)."""

    @model_validator(mode="after")
    def _fit(self) -> "FramingSettings":
        needed, used = _KEYS[self.type]
        for key in needed:
            if not getattr(self, key):
                raise wrong("type", f"framing {self.type} needs {key}", f"add {key}:")
        for key in self.model_fields_set - {"type", *needed, *used}:
            raise wrong(key, f"framing {self.type} has no {key}", "leave it out")
        if self.type == "markers" and wire_bytes(self.start) == wire_bytes(self.end):
            fix = "type: delimiter"
            raise wrong("end", "where start and end are the same, that is a delimiter", fix)
        most = self._most
        if (self.max or self.length or 0) > most:
            key = "max" if self.max else "length"
            raise wrong(key, f"longer than {most} bytes with this checksum", f"{most} at most")
        return self

    @property
    def _most(self) -> int:
        if self.checksum.type == "none":
            return 256_000
        return _CHECKED if self.start else _CHECKED_ANYWHERE

    @property
    def quiet(self) -> float:
        """How much silence means something (s); 0: none does."""
        if self.gap is None:
            return _QUIET if self.type in ("fixed", "length") else 0.0
        return self.gap

    def build(self) -> Framing:
        """What finds the frames of one line."""
        return _BUILT[self.type](self, self.max or min(LONGEST, self._most))

    def shape(self, longest: int) -> Shape:
        """What frames look like that tell themselves where they end."""
        start = wire_bytes(self.start)
        if self.type == "fixed":
            return Fixed(self.length or 1, start)
        if self.type == "markers":
            return Marked(start, wire_bytes(self.end), longest)
        counted = {"rest": 0, "itself": self.size, "all": len(start) + self.size}[self.counts]
        return Prefixed(self.size, self.order, longest, start, counted, self.extra)


def _delimited(settings: FramingSettings, longest: int) -> Framing:
    return Delimited(wire_bytes(settings.end), longest, quiet_ends=bool(settings.gap))


def _scanner(settings: FramingSettings, longest: int) -> Framing:
    return Scanner(settings.shape(longest), settings.checksum.build(), keep=settings.keep)


_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lines": ((), ("max", "gap")),
    "delimiter": (("end",), ("max", "gap")),
    "fixed": (("length",), ("start", "gap", "checksum", "keep")),
    "length": ((), ("start", "size", "order", "counts", "extra", "max", "gap", "checksum", "keep")),
    "markers": (("start", "end"), ("max", "gap", "checksum", "keep")),
    "gap": (("gap",), ("max",)),
}  # (needed, possible) by type
_BUILT: dict[str, Callable[[FramingSettings, int], Framing]] = {
    "lines": _delimited,
    "delimiter": _delimited,
    "fixed": _scanner,
    "length": _scanner,
    "markers": _scanner,
    "gap": lambda settings, longest: Silence(longest),
}
