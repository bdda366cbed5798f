"""Binary frames with a fixed layout: Python's struct, with names, scales and units.

Either `format` with `names`, or `fields`, each with a type and, if they do not lie one behind the
other, an offset. Fields named time, ts or timestamp are the reading's own time. NaN is left out.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gateway.codecs.reports import (
    MAX_METRICS,
    MAX_NODES,
    MAX_REPORTS,
    MAX_TEXT,
    TIME_KEYS,
    Report,
    metric_name,
    time_of,
    value_of,
)
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings, Settings, wrong

_LARGEST = 65_536  # bytes of a record
_CODES = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
    "bool": "?", "text": "s",
}  # fmt: skip
_FLOATS = ("float16", "float32", "float64")
_ORDERS = {"big": ">", "little": "<"}
_FORMAT = r"^[<>!=]\s*([0-9]{0,4}[xbB?hHiIlLqQefds]\s*)+$"


class FieldSettings(Settings):
    """A field of a record."""

    name: str
    """The metric."""
    type: Literal[
        "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "float32", "float64", "bool", "text",
    ]  # fmt: skip
    """What it is in the frame."""
    offset: Annotated[int, Field(ge=0, le=_LARGEST)] | None = None
    """Where it begins in the record (bytes); behind the one before if not given."""
    length: Annotated[int, Field(ge=1, le=MAX_TEXT)] | None = None
    """For text: how long it is (bytes)."""
    byte_order: Literal["big", "little"] | None = None
    """If it is another than the whole frame's."""
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    """For a whole number: take only this bit (0 is the lowest), which is true or false."""
    scale: float = 1.0
    """What the number is multiplied by."""
    add: float = 0.0
    """What is added to it then."""
    unit: str = ""
    """Its unit, for people."""

    @model_validator(mode="after")
    def _fitting(self) -> "FieldSettings":
        if (self.type == "text") != (self.length is not None):
            raise wrong("length", "text has a length, and nothing else has", "length: 8")
        if self.bit is not None and (self.type in (*_FLOATS, "bool", "text")):
            raise wrong("bit", f"{self.type} has no bits", "use a type such as uint8")
        if self.bit is not None and self.bit >= 8 * struct.calcsize(f"={_CODES[self.type]}"):
            raise wrong("bit", f"{self.type} has no bit {self.bit}", "count from 0")
        if self.scaled and (self.type in ("bool", "text") or self.bit is not None):
            raise wrong("scale", "only numbers have a scale", "leave out scale: and add:")
        if not (math.isfinite(self.scale) and math.isfinite(self.add)) or not self.scale:
            raise wrong("scale", "not a scale", "use a number such as 0.1")
        return self

    @property
    def scaled(self) -> bool:
        """Whether the number is not taken as it is."""
        return (self.scale, self.add) != (1.0, 0.0)


class StructSettings(CodecSettings):
    """Binary frames with a fixed layout."""

    type: Literal["struct"] = "struct"
    """Which codec."""
    fields_: Annotated[
        tuple[FieldSettings, ...], Field(alias="fields", max_length=MAX_METRICS)
    ] = ()
    """What a record holds."""
    format: Annotated[str, Field(max_length=2_000, pattern=_FORMAT)] | None = None
    """Instead of fields: a format of Python's struct, which begins with `<`, `>`, `!` or `=`, such
    as `<hHf`."""
    names: Annotated[tuple[str, ...], Field(max_length=MAX_METRICS)] = ()
    """With format: the metric of each value, `""` for one that is not wanted."""
    byte_order: Literal["big", "little"] = "big"
    """Byte order of the fields; big is the network's."""
    header: Annotated[int, Field(ge=0, le=_LARGEST)] = 0
    """How many bytes to pass over first."""
    size: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    """How long a record is (bytes); as far as its last field if not given."""
    repeat: bool = False
    """One record behind the other, each a reading of its own."""

    @model_validator(mode="after")
    def _fitting(self) -> "StructSettings":
        if bool(self.fields_) == (self.format is not None):
            raise wrong("fields", "either fields: or format: says what is in a frame", "give one")
        if (self.format is None) != (not self.names):
            raise wrong("names", "format: and names: go together", "give both, or fields:")
        try:
            layout = _layout(self)
        except (DecodeError, struct.error) as error:
            key = "format" if self.format is not None else "fields"
            raise wrong(key, str(error), "see docs/codecs.md") from error
        if self.size is not None and self.size < layout.size:
            message = f"the fields take {layout.size} bytes"
            raise wrong("size", message, f"size: {layout.size}")
        return self

    def build(self) -> "StructCodec":
        """The codec, for one source."""
        return StructCodec(self)


@dataclass(frozen=True, slots=True)
class _Part:
    """Values that are unpacked together. names: their metrics, "" for those not wanted. field: how
    one is to be read further, None where they are taken as they are."""

    at: int
    packed: struct.Struct
    names: tuple[str, ...]
    field: FieldSettings | None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    """size: as far as the last field (bytes)."""

    parts: tuple[_Part, ...]
    size: int


def _layout(settings: StructSettings) -> _Layout:
    """Where what is in a record. Raises DecodeError or struct.error if that cannot be."""
    if settings.format is not None:
        packed = struct.Struct(settings.format)
        if packed.size > _LARGEST:
            raise DecodeError(f"a record of more than {_LARGEST} bytes")
        count = len(packed.unpack(bytes(packed.size)))
        if count != len(settings.names):
            raise DecodeError(f"{len(settings.names)} names for {count} values")
        parts: Sequence[_Part] = (_Part(0, packed, tuple(settings.names)),)
    else:
        parts = _parts(settings.fields_, settings.byte_order)
    names = [name for part in parts for name in part.names if name]
    for name in names:
        metric_name(name)
    if len(set(names)) < len(names):
        raise DecodeError("two fields have one name")
    if not set(names) - set(TIME_KEYS):
        raise DecodeError("no field for a metric")
    return _Layout(tuple(parts), max(part.at + part.packed.size for part in parts))


def _parts(fields: Iterable[FieldSettings], byte_order: str) -> list[_Part]:
    parts = []
    place = 0
    for field in fields:
        order = _ORDERS[field.byte_order or byte_order]
        packed = struct.Struct(f"{order}{field.length or ''}{_CODES[field.type]}")
        at = place if field.offset is None else field.offset
        parts.append(_Part(at, packed, (field.name,), field))
        place = at + packed.size
    return parts


class StructCodec:
    """See the module."""

    def __init__(self, settings: StructSettings) -> None:
        layout = _layout(settings)
        self._parts = layout.parts
        self._header = settings.header
        self._size = settings.size or layout.size
        self._repeat = settings.repeat
        self._count = sum(len(part.names) for part in layout.parts)
        self._units = {field.name: field.unit for field in settings.fields_ if field.unit}

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        return self._units

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The readings in a frame. Raises DecodeError with reason length, too_many, empty, time,
        metric or malformed."""
        size, header = self._size, self._header
        count, rest = divmod(len(payload) - header, size)
        if rest or count < 1 or (count > 1 and not self._repeat):
            wanted = f"{header} + {'n · ' if self._repeat else ''}{size}"
            raise DecodeError(f"{len(payload)} bytes where {wanted} should be", reason="length")
        if count > MAX_REPORTS or count * self._count > MAX_NODES:
            raise DecodeError(f"{count} records in one payload", reason="too_many")
        return [self._report(payload, header + number * size) for number in range(count)]

    def _report(self, payload: bytes, begin: int) -> Report:
        found: dict[str, Any] = {}
        for part in self._parts:
            values = part.packed.unpack_from(payload, begin + part.at)
            for name, value in zip(part.names, values, strict=True):
                if name:
                    found[name] = value if part.field is None else _read(value, part.field)
        time = None
        for key in TIME_KEYS:
            given = found.pop(key, None)
            if given is not None and time is None:
                time = time_of(given)
        reading: dict[str, Value] = {
            name: value_of(name, _text(name, value) if isinstance(value, bytes) else value)
            for name, value in found.items()
            if value == value  # and not NaN
        }
        if not reading:
            raise DecodeError("no metric in it", reason="empty")
        return time, reading


def _read(value: Any, field: FieldSettings) -> Any:
    """What a field's value means."""
    if field.bit is not None:
        return bool(value >> field.bit & 1)
    return value * field.scale + field.add if field.scaled else value


def _text(name: str, value: bytes) -> str:
    """Text, which ends at the first NUL."""
    try:
        return value.partition(b"\0")[0].decode().strip()
    except UnicodeDecodeError as error:
        raise DecodeError(f"{name}: not UTF-8", reason="malformed") from error
