"""The chips on an I2C bus, as configured."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gateway.core.settings import Duration, Id, Settings, wrong
from gateway.io.i2c.chips.ads1115 import PAIRS, RANGES, Ads1115, Channel
from gateway.io.i2c.chips.bme280 import Bme280
from gateway.io.i2c.chips.chip import Chip
from gateway.io.i2c.chips.ina219 import SPANS, Ina219
from gateway.io.i2c.chips.registers import SIZES, Register, Registers
from gateway.io.i2c.chips.sht3x import Sht3x
from gateway.io.wire import Wire, wire_bytes

Metric = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[Duration, Field(ge=0.05)]
ADDRESSES: Mapping[str, range] = {
    "bme280": range(0x76, 0x78), "bmp280": range(0x76, 0x78), "sht3x": range(0x44, 0x46),
    "ads1115": range(0x48, 0x4C), "ina219": range(0x40, 0x50), "registers": range(0x03, 0x78),
}  # fmt: skip
"""Where each kind can be; the first is the default."""
_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # needed, and used where given
    "bme280": ((), ("oversampling",)),
    "bmp280": ((), ("oversampling",)),
    "sht3x": ((), ("repeatability",)),
    "ads1115": (("channels",), ("rate",)),
    "ina219": ((), ("shunt", "max_current", "bus_range", "samples")),
    "registers": (("address", "registers"), ("setup", "register_size")),
}
_COMMON = ("id", "kind", "address", "interval")


class ChannelSettings(Settings):
    """An input of an ADS1115."""

    name: Metric
    """The metric."""
    input: Annotated[int, Field(ge=0, le=3)]
    """Which input, A0 to A3."""
    minus: Annotated[int, Field(ge=1, le=3)] | None = None
    """The input that it is measured against; ground if not given."""
    range: float = 4.096
    """The full scale, in volts: 6.144, 4.096, 2.048, 1.024, 0.512 or 0.256 (a gain of ⅔, 1, 2, 4, 8
    or 16). No input may have more than the chip's supply all the same."""
    scale: Number = 1.0
    """What the volts are multiplied by."""
    offset: Number = 0.0
    """What is added then."""
    unit: str | None = None
    """The unit, for people; V where nothing is scaled."""

    @field_validator("range")
    @classmethod
    def _range(cls, value: float) -> float:
        if value not in RANGES:
            raise ValueError(f"expected one of {', '.join(map(str, RANGES))}")
        return value

    @model_validator(mode="after")
    def _pair(self) -> "ChannelSettings":
        if self.minus is not None and (self.input, self.minus) not in PAIRS:
            pairs = ", ".join(f"{first} minus {second}" for first, second in PAIRS)
            raise wrong("minus", f"the chip measures {pairs}", "use one of these")
        return self

    def build(self) -> Channel:
        """See gateway.io.i2c.chips.ads1115."""
        plain = (self.scale, self.offset) == (1.0, 0.0)
        unit = ("V" if plain else "") if self.unit is None else self.unit
        return Channel(
            self.name, self.input, self.minus, self.range, self.scale, self.offset, unit
        )  # fmt: skip


class RegisterSettings(Settings):
    """A value in a register of a chip."""

    name: Metric
    """The metric."""
    register_: Annotated[int, Field(ge=0, le=0xFFFF, alias="register")]
    """Its address in the chip."""
    type: Literal[
        "int8", "uint8", "int16", "uint16", "int24", "uint24", "int32", "uint32", "int64",
        "uint64", "float32", "float64",
    ] = "uint8"  # fmt: skip
    """What it is."""
    byte_order: Literal["big", "little"] = "big"
    """Which byte comes first: the highest (big) or the lowest."""
    bits: Annotated[int, Field(ge=1, le=63)] | None = None
    """How many of the lowest bits count, where the others mean something else. For int, the
    highest of them is the sign."""
    scale: Number = 1.0
    """What the number is multiplied by."""
    offset: Number = 0.0
    """What is added then."""
    unit: str = ""
    """The unit, for people."""

    @model_validator(mode="after")
    def _bits(self) -> "RegisterSettings":
        if self.bits is not None and self.type.startswith("float"):
            raise wrong("bits", f"{self.type} has no bits", "leave it out")
        if self.bits is not None and self.bits > 8 * SIZES[self.type]:
            raise wrong("bits", f"{self.type} has {8 * SIZES[self.type]} bits", "leave it out")
        return self

    def build(self) -> Register:
        """See gateway.io.i2c.chips.registers."""
        return Register(
            self.name, self.register_, self.type, self.byte_order, self.bits, self.scale,
            self.offset, self.unit,
        )  # fmt: skip


class ChipSettings(Settings):
    """A chip on an I2C bus: a device of its own."""

    id: Id | None = None
    """The device's name; defaults to its kind, with a number where that is taken."""
    kind: Literal["bme280", "bmp280", "sht3x", "ads1115", "ina219", "registers"]
    """Which chip; registers: another one, by a map of its registers."""
    address: int | None = None
    """Where it is on the bus, such as 0x76; by default the kind's usual one."""
    interval: Interval | None = None
    """How often it is read; as the bus if not given."""
    oversampling: Literal[1, 2, 4, 8, 16] = 1
    """bme280, bmp280: how many times each value is measured and averaged."""
    repeatability: Literal["high", "medium", "low"] = "high"
    """sht3x: less noise, or a shorter measurement."""
    channels: Annotated[tuple[ChannelSettings, ...], Field(max_length=16)] = ()
    """ads1115: what is connected to its inputs."""
    rate: Literal[8, 16, 32, 64, 128, 250, 475, 860] = 128
    """ads1115: samples a second; the slower, the less noise."""
    shunt: Annotated[float, Field(ge=1e-5, le=1_000)] = 0.1
    """ina219: the shunt, in Ω."""
    max_current: Annotated[float, Field(gt=0, le=10_000)] = 3.2
    """ina219: the highest current that there can be, in A."""
    bus_range: Literal[16, 32] = 32
    """ina219: the highest voltage that there can be, in V."""
    samples: Literal[1, 2, 4, 8, 16, 32, 64, 128] = 1
    """ina219: how many measurements are averaged."""
    registers: Annotated[tuple[RegisterSettings, ...], Field(max_length=256)] = ()
    """registers: what is read."""
    setup: Annotated[tuple[Wire, ...], Field(max_length=64)] = ()
    """registers: what is written to the chip at the beginning, and again after it was away; such as
    `hex:20 57`, a register and its value."""
    register_size: Literal[1, 2] = 1
    """registers: bytes of a register's address."""

    @model_validator(mode="after")
    def _fitting(self) -> "ChipSettings":
        needed, used = _KEYS[self.kind]
        for key in needed:
            if getattr(self, key) in (None, ()):
                raise wrong("kind", f"{self.kind} needs {key}", f"add {key}:")
        for key in sorted(self.model_fields_set - {*_COMMON, *needed, *used}):
            raise wrong(key, f"{self.kind} has no {key}", "leave it out")
        places = ADDRESSES[self.kind]
        if self.place not in places:
            can = " or ".join(map(hexed, places)) if len(places) < 5 else _span(places)
            raise wrong("address", f"{self.kind} is at {can}", f"address: {hexed(places[0])}")
        if self.shunt * self.max_current > SPANS[-1] * 1.000001:
            most = math.floor(SPANS[-1] / self.shunt * 1000 + 1e-6) / 1000
            message = f"{self.shunt:g} Ω and {self.max_current:g} A are more than 320 mV"
            raise wrong("max_current", message, f"max_current: {most:g}, or a smaller shunt")
        self._unique()
        return self

    def _unique(self) -> None:
        for key, items in (("channels", self.channels), ("registers", self.registers)):
            names = [each.name for each in items]
            for name in names:
                if names.count(name) > 1:
                    raise wrong(key, f'"{name}" is there twice', "give one another name")
        widest = max((each.register_ for each in self.registers), default=0)
        if widest > 0xFF and self.register_size == 1:
            message = f"register {hexed(widest)} takes two bytes"
            raise wrong("registers", message, "register_size: 2")

    @property
    def place(self) -> int:
        """Its address."""
        return self.address if self.address is not None else ADDRESSES[self.kind][0]

    def build(self) -> Chip:
        """What reads it, and knows what it says."""
        return _BUILT[self.kind](self)


def hexed(number: int) -> str:
    """A number as addresses are written."""
    return f"0x{number:02x}"


def _span(places: range) -> str:
    return f"{hexed(places[0])} to {hexed(places[-1])}"


def _registers(settings: ChipSettings) -> Chip:
    registers = [each.build() for each in settings.registers]
    return Registers(registers, [*map(wire_bytes, settings.setup)], settings.register_size)


_BUILT: Mapping[str, Callable[[ChipSettings], Chip]] = {
    "bme280": lambda s: Bme280(True, s.oversampling),
    "bmp280": lambda s: Bme280(False, s.oversampling),
    "sht3x": lambda s: Sht3x(s.repeatability),
    "ads1115": lambda s: Ads1115([each.build() for each in s.channels], s.rate),
    "ina219": lambda s: Ina219(s.shunt, s.max_current, s.bus_range, s.samples),
    "registers": _registers,
}
