"""What is in which register of a device, as its maker tells: a map."""

import math
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import core_schema

from gateway.core.settings import Duration, Settings, wrong
from gateway.io.modbus.files import loaded
from gateway.io.modbus.values import CODES, FLOATS, Kind, Order, size

Table = Literal["holding", "input", "coil", "discrete"]
BIT_TABLES = ("coil", "discrete")
WRITABLE = ("holding", "coil")
LAST = 65_535
"""The last address there is."""

Address = Annotated[int, Field(ge=0, le=LAST + 1)]
Every = Annotated[Duration, Field(ge=0.05)]


class RegisterSettings(Settings):
    """One value of a device."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\s/+#]+$")]
    """The metric."""
    table: Table = "holding"
    """Where it is: holding registers (function 3), input registers (4), coils (1) or discrete
    inputs (2)."""
    address: Address
    """The first register, counted as `base` says."""
    type: Kind | None = None
    """What it is: `bool` in coils and discrete inputs; else uint16 if nothing is said."""
    length: Annotated[int, Field(ge=1, le=120)] | None = None
    """For a string: how many registers."""
    byte_order: Order | None = None
    """If it is another than the whole map's."""
    word_order: Order | None = None
    """If it is another than the whole map's."""
    scale: float = 1.0
    """What the number is multiplied by."""
    offset: float = 0.0
    """What is added to it then."""
    exponent: Address | None = None
    """A register of the same table with the power of ten that the number is multiplied by
    (SunSpec's scale factors)."""
    round: Annotated[int, Field(ge=0, le=9)] | None = None
    """How many digits behind the point are kept; those that `scale` allows if not given."""
    unit: Annotated[str, Field(max_length=32)] = ""
    """Its unit, for people."""
    every: Every | None = None
    """How often it is read, if not as often as the others."""
    invalid: tuple[int, ...] = ()
    """Numbers, as they are in the registers, that mean "none"."""
    names: dict[int, str] = Field(default_factory=dict)
    """Texts for numbers, such as `{0: off, 1: heating}`; others stay numbers, as text."""
    bits: dict[int, str] = Field(default_factory=dict)
    """For bits: what each of them is called; 0 is the lowest. The metric is `name.bit`."""
    write: bool = False
    """Whether it can be set (the command `set`)."""
    min: float | None = None
    """The least that may be set."""
    max: float | None = None
    """The most that may be set."""
    read: bool = True
    """Whether it can be read; `false` for what can only be set."""

    @property
    def kind(self) -> Kind:
        """What it is, said or not."""
        return self.type or ("bool" if self.table in BIT_TABLES else "uint16")

    @property
    def count(self) -> int:
        """How many registers or coils it takes."""
        return size(self.kind, self.length or 0)

    @property
    def metrics(self) -> list[str]:
        """The metrics it gives."""
        if self.kind == "bits":
            return [f"{self.name}.{bit}" for bit in self.bits.values()]
        return [self.name]

    @model_validator(mode="after")
    def _fitting(self) -> "RegisterSettings":
        kind = self.kind
        if (kind == "bool") != (self.table in BIT_TABLES):
            fix = "leave out type:" if self.table in BIT_TABLES else "use type: bits"
            raise wrong("type", f"{kind} is not what is in the table {self.table}", fix)
        if (kind == "string") != (self.length is not None):
            raise wrong("length", "a string has a length, and nothing else has", "length: 8")
        if (kind == "bits") != bool(self.bits):
            raise wrong("bits", "bits have names, and nothing else has", "bits: {0: alarm}")
        if self.bits and not all(0 <= bit <= 15 for bit in self.bits):
            raise wrong("bits", "a register has the bits 0 to 15", "count from 0, the lowest")
        return self._numeric()._set()

    def _numeric(self) -> "RegisterSettings":
        """Raises where there is something that only numbers have."""
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)) or not self.scale:
            raise wrong("scale", "not a scale", "use a number such as 0.1")
        if self.kind not in CODES:
            for key in ("scale", "offset", "exponent", "round", "invalid", "names", "min", "max"):
                if key in self.model_fields_set:
                    raise wrong(key, f"a {self.kind} has no {key}", f"leave out {key}:")
        if self.names and self.kind in FLOATS:
            raise wrong("names", f"a {self.kind} has no names", "leave out names:")
        return self

    def _set(self) -> "RegisterSettings":
        """Raises where what is said of setting it cannot be."""
        if not self.write:
            for key in ("min", "max"):
                if getattr(self, key) is not None:
                    raise wrong(key, "only what can be set has limits", "add write: true")
            if not self.read:
                raise wrong("read", "nothing is left to do", "add write: true")
            return self
        if self.table not in WRITABLE:
            raise wrong("write", f"the table {self.table} cannot be written", "leave out write:")
        if self.kind == "bits" or self.exponent is not None:
            what = "one bit of a register" if self.kind == "bits" else "a number with an exponent"
            raise wrong("write", f"{what} cannot be set", "leave out write:")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise wrong("max", "less than min", f"max: {self.min:g} or more")
        return self


class MapSettings(Settings):
    """What is in which register."""

    model: Annotated[str, Field(max_length=100)] = ""
    """What device it is, for people."""
    source: str = ""
    """Where the maker tells it, for people."""
    about: str = ""
    """What else to know, such as how the device is set when it is new."""
    base: Literal[0, 1] = 0
    """The number that the first register has in `address`: 0 as on the line, or 1."""
    byte_order: Order = "big"
    """Which byte of a register comes first: the high one (big), as the standard has it, or the
    low one."""
    word_order: Order = "big"
    """Which register of a longer number comes first: that with the high bits (big) or with the low
    ones."""
    every: Every = 10.0
    """How often it is read."""
    gap: Annotated[int, Field(ge=0, le=124)] = 8
    """Registers that nobody asked for and that are read all the same, to read what is on both sides
    in one request."""
    largest: Annotated[int, Field(ge=1, le=125)] = 125
    """Most registers in one request."""
    registers: tuple[RegisterSettings, ...]
    """What is in them."""

    @model_validator(mode="after")
    def _together(self) -> "MapSettings":
        if not self.registers:
            raise wrong("registers", "there is none", "registers: [{name: power, address: 0}]")
        counts = Counter(metric for each in self.registers for metric in each.metrics)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise wrong("registers", f'"{twice[0]}" is there twice', "give one another name")
        for each in self.registers:
            limit = 1 if each.table in BIT_TABLES else self.largest
            if each.count > limit:
                fix = f"largest: {each.count}"
                raise wrong("largest", f"{each.name} has {each.count} registers", fix)
            for first, count in ((each.address, each.count), (each.exponent, 1)):
                if first is not None and not self.base <= first <= LAST + self.base - count + 1:
                    fix = f"addresses begin at {self.base}, as base says"
                    raise wrong("registers", f"{each.name}: there is no register {first}", fix)
        return self


class _NamedOrWritten:
    """In the schema: the name of a map, or the map itself."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def _map(value: Any) -> Any:
    return loaded(value, MapSettings) if isinstance(value, str) else value


Map = Annotated[MapSettings, BeforeValidator(_map), _NamedOrWritten()]
"""A map: the name of one that comes with the gateway, the path of a file, or written here."""
