"""Which requests read which values: neighbouring registers together. No I/O."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from gateway.core.contracts import Value
from gateway.io.modbus import values as values
from gateway.io.modbus.map import BIT_TABLES, MapSettings, RegisterSettings, Table
from gateway.io.modbus.values import FLOATS, Order

_MOST_BITS = 2_000  # coils or discrete inputs in one request, by the standard
_BITS = 16  # of these weigh as much as a register

Memory = dict[tuple[str, int], int]
"""What was read: registers, coils and discrete inputs by table and address."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A value in registers. address, exponent: as on the line, from 0; exponent: -1 for none."""

    settings: RegisterSettings
    address: int
    exponent: int
    byte_order: Order
    word_order: Order
    digits: int | None

    @property
    def name(self) -> str:
        """The metric, or what those of bits begin with."""
        return self.settings.name

    @property
    def table(self) -> Table:
        """Where it is."""
        return self.settings.table

    @property
    def spans(self) -> list[tuple[int, int]]:
        """What has to be read for it: (address, count) of each part."""
        own = [(self.address, self.settings.count)]
        return own if self.exponent < 0 else [*own, (self.exponent, 1)]

    def decode(self, memory: Memory) -> dict[str, Value]:
        """Its metrics; none where it was not read or the device says that there is none."""
        read = [memory.get((self.table, self.address + n)) for n in range(self.settings.count)]
        registers = [each for each in read if each is not None]
        if len(registers) < len(read):
            return {}
        kind = self.settings.kind
        if kind == "bool":
            return {self.name: bool(registers[0])}
        if kind == "bits":
            bits = int.from_bytes(values.to_bytes(registers, self.byte_order, "big"), "big")
            return {
                f"{self.name}.{name}": bool(bits >> bit & 1)
                for bit, name in self.settings.bits.items()
            }
        if kind == "string":
            return {self.name: values.text(registers, self.byte_order)}
        found = self._number(registers, memory)
        return {} if found is None else {self.name: found}

    def _number(self, registers: Sequence[int], memory: Memory) -> Value | None:
        settings = self.settings
        data = values.to_bytes(registers, self.byte_order, self.word_order)
        raw = values.number(settings.kind, data)
        if raw is None or raw in settings.invalid or self._is_marked(data):
            return None
        if settings.names:
            return settings.names.get(int(raw), str(int(raw)))
        digits, factor = self.digits, 1.0
        if self.exponent >= 0:
            told = memory.get((self.table, self.exponent))
            power = None if told is None else values.power(told)
            if power is None:
                return None
            factor = power
            if digits is not None and settings.round is None:
                digits += max(-round(math.log10(power)), 0)
        found = raw * factor * settings.scale + settings.offset
        found = found if digits is None else round(found, digits)
        return float(found) if math.isfinite(found) else None

    def _is_marked(self, data: bytes) -> bool:
        """Whether `invalid` has it as it stands in the registers, without a sign."""
        return int.from_bytes(data, "big") in self.settings.invalid

    def encode(self, value: Value) -> list[int]:
        """What is to be written for a value. Raises ValueError."""
        settings, kind = self.settings, self.settings.kind
        if kind == "bool":
            if value not in (True, False, 0, 1):
                raise ValueError("neither true nor false")
            return [int(value)]
        if kind == "string":
            if not isinstance(value, str):
                raise ValueError("no text")
            return values.from_text(value, settings.length or 0, self.byte_order)
        if settings.names:
            return self._raw(float(self._named(value)))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("no number")
        if not math.isfinite(value):
            raise ValueError("no number")
        if settings.min is not None and value < settings.min:
            raise ValueError(f"less than {settings.min:g}")
        if settings.max is not None and value > settings.max:
            raise ValueError(f"more than {settings.max:g}")
        return self._raw((value - settings.offset) / settings.scale)

    def _named(self, value: Value) -> int:
        for number, name in self.settings.names.items():
            if value == name or (value == number and not isinstance(value, bool)):
                return number
        raise ValueError(f"none of {', '.join(self.settings.names.values())}")

    def _raw(self, number: float) -> list[int]:
        return values.from_number(self.settings.kind, number, self.byte_order, self.word_order)


@dataclass(frozen=True, slots=True)
class Part:
    """Registers that are read for a value; `count` of them."""

    address: int
    count: int
    item: Item

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.count


@dataclass(slots=True, eq=False)
class Block:
    """What one request reads. parts: by address."""

    table: Table
    parts: list[Part]

    @property
    def address(self) -> int:
        """The first one."""
        return self.parts[0].address

    @property
    def count(self) -> int:
        """How many registers, or coils."""
        return max(part.end for part in self.parts) - self.address

    @property
    def text(self) -> str:
        """For people: the addresses as on the line."""
        last = self.address + self.count - 1
        where = str(self.address) if self.count == 1 else f"{self.address} to {last}"
        return f"{self.table} {where}"

    def halves(self) -> list["Block"]:
        """The block in two, between two values, where most registers lie that nobody asked for;
        none where there is one value in it."""
        ends = list(accumulate((part.end for part in self.parts), max))
        cuts = [n for n in range(1, len(ends)) if self.parts[n].address >= ends[n - 1]]
        if not cuts:
            return []
        middle = len(ends) / 2
        cut = max(cuts, key=lambda n: (self.parts[n].address - ends[n - 1], -abs(n - middle)))
        return [Block(self.table, self.parts[:cut]), Block(self.table, self.parts[cut:])]


@dataclass(slots=True)
class Group:
    """What is read together. every: s. due: when next (s, of the loop). blocks: its requests."""

    every: float
    items: list[Item]
    gap: int
    largest: int
    blocks: list[Block] = field(default_factory=list)
    due: float = 0.0
    skipped: int = 0

    def __post_init__(self) -> None:
        self.mend()

    def mend(self) -> None:
        """Plan anew, as if nothing had ever been refused."""
        self.blocks = plan(self.items, self.gap, self.largest)

    def split(self, block: Block) -> list[Block]:
        """Two requests for one that was refused; none, and that one is made no more, where there is
        one value in it."""
        where, halves = self.blocks.index(block), block.halves()
        self.blocks[where : where + 1] = halves
        return halves

    def decode(self, memory: Memory) -> dict[str, Value]:
        """What was read."""
        found: dict[str, Value] = {}
        for item in self.items:
            found |= item.decode(memory)
        return found

    def next(self, now: float) -> None:
        """When it is due again: on its grid, without those that were missed."""
        missed = max(int((now - self.due) // self.every), 0)
        self.skipped += missed
        self.due += self.every * (missed + 1)


def items(found: MapSettings, chosen: Iterable[RegisterSettings]) -> list[Item]:
    """Registers with what their map says of all."""
    return [
        Item(
            each,
            each.address - found.base,
            -1 if each.exponent is None else each.exponent - found.base,
            each.byte_order or found.byte_order,
            each.word_order or found.word_order,
            _digits(each),
        )
        for each in chosen
    ]


def _digits(settings: RegisterSettings) -> int | None:
    """How many digits behind the point say something; None for any number."""
    if settings.round is not None:
        return settings.round
    if settings.kind in FLOATS:
        return None
    return max(values.decimals(settings.scale), values.decimals(settings.offset))


def plan(wanted: Sequence[Item], gap: int, largest: int) -> list[Block]:
    """As few requests as the limits allow. A value is always read in one: its halves would be of
    two moments."""
    parts = sorted(
        (
            (item.table, Part(address, count, item))
            for item in wanted
            for address, count in item.spans
        ),
        key=lambda each: (each[0], each[1].address, each[1].count),
    )
    blocks: list[Block] = []
    for table, part in parts:
        if blocks and _fits(blocks[-1], table, part, gap, largest):
            blocks[-1].parts.append(part)
        else:
            blocks.append(Block(table, [part]))
    return blocks


def _fits(block: Block, table: Table, part: Part, gap: int, largest: int) -> bool:
    """Whether a request may read that as well."""
    bits = table in BIT_TABLES
    most = min(largest * _BITS, _MOST_BITS) if bits else largest
    end = block.address + block.count
    between, total = part.address - end, max(part.end, end) - block.address
    return table == block.table and between <= gap * (_BITS if bits else 1) and total <= most
