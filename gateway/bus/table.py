"""The readings of many blocks, in columns, by what they are of: for whoever reads a long stretch of
the journal and keeps columns anyway. Made of a day of small blocks it costs a quarter of what
their readings do one by one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.bus import block as blocks
from gateway.bus.block import Block, Columns, CorruptBlockError, Group, Header
from gateway.bus.shuffle import Ints, unshuffled_each
from gateway.core.contracts import Flag, Reading

_MARKED = bytes(flags for flags in range(256) if flags & Flag.UNSYNCED)
_READINGS = 16_000  # taken at once, if one block has not as many
_BLOCKS = 2_000
_BYTES = 1024 * 1024  # unpacked
_ROWS = 8  # readings of a device from which on a table costs less than they do one by one

Floats = npt.NDArray[np.float64]
Names = tuple[str, ...]


@dataclass(slots=True)
class Part:
    """Readings of one device with these metrics, all of them floats, in order. numbers: a row for
    each."""

    device: str
    names: Names
    sequences: Ints
    times: Ints
    numbers: Floats

    def readings(self) -> Iterator[tuple[int, Reading]]:
        """The same with their sequences, one by one."""
        rows = zip(self.sequences.tolist(), self.times.tolist(), self.numbers.tolist(), strict=True)
        for sequence, time, values in rows:
            yield sequence, Reading(self.device, time, dict(zip(self.names, values, strict=True)))


@dataclass(slots=True)
class Table:
    """Readings with sequences first … end-1, without flags; none was taken while the clock was not
    set, and those without values are left out.

    parts: each device and set of metrics once. others: those whose set has values that are no
    floats, here or elsewhere in the table, with their sequences, in order."""

    first: int
    end: int
    parts: list[Part] = field(default_factory=list)
    others: list[tuple[int, Reading]] = field(default_factory=list)

    def readings(self) -> list[tuple[int, Reading]]:
        """All of them with their sequences, in order."""
        found = [*self.others, *(each for part in self.parts for each in part.readings())]
        return sorted(found, key=lambda each: each[0])


class _Piece(NamedTuple):
    """One block. block: itself, where it is in memory."""

    header: Header
    columns: Columns
    block: Block | None


class Tables:
    """Takes blocks in order, as far as `head` and as many as are read at once; then they are
    `done`."""

    def __init__(self, head: int) -> None:
        self.empty, self.full = True, False
        self._head = head
        self._taken: list[Block | list[_Piece]] = []
        self._readings = self._blocks = self._bytes = 0

    def take(self, header: Header, data: bytes) -> None:
        """One checked block. Raises CorruptBlockError."""
        if header.first >= self._head:
            self.full = True
            return
        columns, size = blocks.decode_columns(data, 0, header)
        if _is_marked(columns):
            self._taken.append(blocks.decode_checked(data, 0, header))
        else:
            self._join(_Piece(header, columns, None))
        self._count(header.count, size)

    def take_block(self, block: Block) -> None:
        """One that is in memory, as it was written."""
        columns = block.columns
        # Texts would be held twice: they are in its readings already. And one such at a time:
        # whoever holds more of them holds what the tail has let go.
        alone = columns is None or _is_marked(columns) or any(g.others for g in columns.groups)
        if alone and self.empty:
            self._taken.append(block)
        elif columns is not None and not alone:
            header = Header(0, 0, block.first, len(block.readings), 0)
            self._join(_Piece(header, columns, block))
            self._count(len(block.readings), 0)
        self.full = self.full or alone

    def _join(self, piece: _Piece) -> None:
        last = self._taken[-1] if self._taken else None
        if isinstance(last, list) and last[-1].header.end == piece.header.first:
            last.append(piece)
        else:
            self._taken.append([piece])

    def _count(self, readings: int, size: int) -> None:
        self.empty = False
        self._readings += readings
        self._blocks += 1
        self._bytes += size
        self.full = self._readings >= _READINGS or self._blocks >= _BLOCKS or self._bytes >= _BYTES

    def done(self) -> list[Table | Block]:
        """What was taken; blocks whose times may have to be put right are as they were. Raises
        CorruptBlockError for columns that do not go together."""
        found: list[Table | Block] = []
        for each in self._taken:
            found += _together(each) if isinstance(each, list) else [each]
        return found


def _is_marked(columns: Columns) -> bool:
    """Whether one of the readings was taken while the clock was not set."""
    return bool(columns.flags) and columns.flags.translate(None, _MARKED) != columns.flags


def _together(found: Sequence[_Piece]) -> Sequence[Table | Block]:
    count = sum(piece.header.count for piece in found)
    devices = set[str]().union(*(piece.columns.devices for piece in found))
    if _ROWS * len(devices) > count:
        return [piece.block or _block(piece) for piece in found]
    try:
        return [_table(found)]
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise CorruptBlockError(str(error)) from error


def _block(piece: _Piece) -> Block:
    readings = blocks.readings_of(piece.header, piece.columns)
    return Block(piece.header.first, readings, settled=True)


@dataclass(slots=True)
class _Lines:
    """What all readings of a table have, in order. begins, counts: of each block. devices: the name
    that each number in `device` stands for."""

    begins: Ints
    counts: Ints
    sequences: Ints
    times: Ints
    device: Ints
    devices: list[str]


@dataclass(slots=True)
class _Wide:
    """The groups with one number of columns: which block each is of, its set of metrics by number,
    rows and matrix."""

    block: list[int] = field(default_factory=list)
    names: list[int] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    matrix: list[bytes] = field(default_factory=list)


class _Numbers(dict[str, int]):
    """Gives each key the next number."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


def _table(found: Sequence[_Piece]) -> Table:
    lines = _lines(found)
    table = Table(found[0].header.first, found[-1].header.end)
    mixed = {g.names for piece in found for g in piece.columns.groups if g.others}
    numbers: dict[Names, int] = {}
    wide: dict[int, _Wide] = {}
    for place, piece in enumerate(found):
        for group in piece.columns.groups:
            names = group.names
            if names in mixed:
                table.others += _readings(lines, place, group)
            elif names:
                own = wide.get(len(names))
                if own is None:
                    own = wide[len(names)] = _Wide()
                own.block.append(place)
                own.names.append(numbers.setdefault(names, len(numbers)))
                own.rows.append(group.rows or _all(piece.header.count))
                own.matrix.append(group.matrix)
    if len(mixed) > 1:
        table.others.sort(key=lambda each: each[0])
    known = list(numbers)
    for width, own in wide.items():
        table.parts += _parts(lines, known, width, own)
    return table


def _lines(found: Sequence[_Piece]) -> _Lines:
    columns = [piece.columns for piece in found]
    counts = np.array([piece.header.count for piece in found])
    begins = np.cumsum(counts) - counts
    numbers = _Numbers()
    known = [number for each in columns for number in map(numbers.__getitem__, each.devices)]
    sizes = np.array([len(each.devices) for each in columns])
    device = np.frombuffer(_joined((e.device for e in columns), 4 * counts), np.uint32)
    _must(bool((device < np.repeat(sizes, counts)).all()))
    return _Lines(
        begins=begins,
        counts=counts,
        sequences=np.arange(found[0].header.first, found[-1].header.end),
        times=_times(columns, begins, counts),
        device=np.array(known)[device + np.repeat(np.cumsum(sizes) - sizes, counts)],
        devices=list(numbers),
    )


def _times(columns: Sequence[Columns], begins: Ints, counts: Ints) -> Ints:
    steps = np.zeros(int(counts.sum()), np.int64)
    later = np.ones(len(steps), np.bool_)
    later[begins] = False
    data = _joined((each.times for each in columns), 8 * (counts - 1))
    steps[later] = unshuffled_each(data, counts - 1, 1).view(np.int64).reshape(-1)
    sums = np.cumsum(steps)
    starts = np.array([each.start for each in columns], np.int64)
    times: Ints = sums + np.repeat(starts - sums[begins], counts)
    return times


def _parts(lines: _Lines, known: list[Names], width: int, wide: _Wide) -> Iterator[Part]:
    lengths = np.array([len(rows) // 4 for rows in wide.rows])
    block = np.repeat(np.array(wide.block), lengths)
    row = np.frombuffer(_joined(wide.rows, 4 * lengths), np.uint32).astype(np.int64)
    _must(bool((row < lines.counts[block]).all()))
    row += lines.begins[block]
    data = _joined(wide.matrix, 8 * width * lengths)
    numbers = unshuffled_each(data, lengths, width).view(np.float64)
    # One after the other what is of one device with one set of metrics, each in order.
    kind = lines.device[row] * len(known) + np.repeat(np.array(wide.names), lengths)
    order = np.argsort(kind, kind="stable")
    kind, row, numbers = kind[order], row[order], numbers[order]
    sequences, times = lines.sequences[row], lines.times[row]
    bounds = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(kind)]
    for begin, end in pairwise(bounds):
        device, names = divmod(int(kind[begin]), len(known))
        yield Part(
            lines.devices[device], known[names],
            sequences[begin:end], times[begin:end], numbers[begin:end],
        )  # fmt: skip


def _readings(lines: _Lines, place: int, group: Group) -> list[tuple[int, Reading]]:
    """A group that is of the block at `place`, as readings."""
    places = group.rows or _all(int(lines.counts[place]))
    rows = np.frombuffer(places, np.uint32) + lines.begins[place]
    found = zip(
        lines.sequences[rows].tolist(), lines.device[rows].tolist(), lines.times[rows].tolist(),
        blocks.cells(group, len(rows)), strict=True,
    )  # fmt: skip
    return [
        (
            sequence,
            Reading(lines.devices[device], time, dict(zip(group.names, values, strict=True))),
        )
        for sequence, device, time, values in found
    ]


@lru_cache(maxsize=16)
def _all(count: int) -> bytes:
    """The rows of a group that is all of its block."""
    return np.arange(count, dtype=np.uint32).tobytes()


def _joined(parts: Iterable[bytes], lengths: Ints) -> bytes:
    """Parts that must have these lengths, joined."""
    every = list(parts)
    _must(list(map(len, every)) == lengths.tolist())
    return b"".join(every)


def _must(holds: bool) -> None:
    if not holds:
        raise CorruptBlockError("columns that do not go together")
