"""The open end of history: samples not yet in a chunk, in columns, by stream."""

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.bus.shuffle import Ints
from gateway.bus.table import Part
from gateway.core.contracts import Flag, Reading, Value
from gateway.store import narrow
from gateway.store.chunks import Numbers, Samples, Times
from gateway.store.narrow import Piece

Key = tuple[str, tuple[str, ...]]
ROWS = 1_024
"""Samples after which a stream is flushed."""
Spans = list[tuple[int, int]]
"""Sequences, first and last, ascending."""
Origin = tuple[str, int]
"""A boot's id, and what its CLOCK_BOOTTIME was added to for the time (ns)."""
NOWHERE: Origin = ("", 0)
"""Of times that are right, or as right as they get."""
_UNSYNCED = Flag.UNSYNCED.value
BASE = 600
"""Bytes an open stream costs before its first sample."""


@dataclass(slots=True)
class Buffer:
    """Samples of one stream that came one after another. numbers: row by row, while every value
    is a float; mixed: rows of values otherwise. texts: characters of all texts in it. first, last:
    sequences. pieces: what came before the rows in `times` and `numbers`, in less memory; packed:
    bytes that these take. room: how many rows may be in `times`; then it is full.

    marked: rows whose times were taken while the clock was not set; origin: in which boot, with
    which base (see gateway.bus.times). rolled: which rollups have these samples already.
    """

    first: int
    width: int
    opened: float = field(default_factory=time.monotonic)
    last: int = 0
    times: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[float]" = field(default_factory=lambda: array("d"))
    mixed: list[list[Value]] | None = None
    marked: list[int] = field(default_factory=list)
    origin: Origin = NOWHERE
    texts: int = 0
    rolled: int = 0
    pieces: list[Piece] = field(default_factory=list)
    packed: int = 0
    room: int = field(default_factory=lambda: ROWS)

    @property
    def rows(self) -> int:
        """How many samples it holds."""
        return len(self.times) + narrow.ROWS * len(self.pieces)

    def add(self, sequence: int, reading: Reading, origin: Origin = NOWHERE) -> None:
        """Append one sample."""
        self.last = sequence
        if origin is not NOWHERE and reading.flags & _UNSYNCED:
            self.marked.append(self.rows)
            self.origin = origin
        self.times.append(reading.time)
        values = reading.values.values()
        if self.mixed is None:
            if list(map(type, values)).count(float) == self.width:
                self.numbers.extend(values)  # type: ignore[arg-type]
                return
            self.widen()
            rows = range(0, len(self.numbers), self.width)
            self.mixed = [list(self.numbers[row : row + self.width]) for row in rows]
        self.mixed.append(list(values))
        self.texts += text_size(reading)

    def extend(self, sequences: Ints, times: Ints, numbers: Numbers) -> None:
        """Append samples whose times are right and whose values are floats, a row for each."""
        self.last = int(sequences[-1])
        self.times.frombytes(times.tobytes())
        if self.mixed is None:
            self.numbers.frombytes(numbers.tobytes())
        else:
            self.mixed += numbers.tolist()

    def when(self, shift: int | None = None) -> Times:
        """A copy of the times; `shift` is added to those that were taken while the clock was not
        set."""
        return self._columns((), shift)[0]

    def ends(self, shift: int | None = None) -> tuple[int, int]:
        """The first and the last time; `shift` as in `when`."""
        first = self.pieces[0].first_time if self.pieces else self.times[0]
        last, marked = self.times[-1], self.marked
        if shift and marked:
            first += shift if marked[0] == 0 else 0
            last += shift if marked[-1] == self.rows - 1 else 0
        return first, last

    def _columns(
        self, places: Sequence[int], shift: int | None
    ) -> tuple[Times, list[Numbers | list[Value]]]:
        times = np.array(self.times, dtype=np.int64)
        columns: list[Numbers | list[Value]]
        if self.mixed is None:
            rows = np.array(self.numbers).reshape(-1, self.width).T
            columns = [rows[place] for place in places]
        else:
            columns = [_numbers([row[place] for row in self.mixed]) for place in places]
        if self.pieces:  # then all are numbers
            parts, older = narrow.widen(self.pieces, places)
            times = np.concatenate([*parts, times])
            pairs = zip(older, columns, strict=True)
            columns = [np.concatenate([*own, column]) for own, column in pairs]
        if shift and self.marked:
            times[self.marked] += shift
        return times, columns

    def column(self, place: int, shift: int | None = None) -> tuple[Times, Numbers | list[Value]]:
        """Copies of the times and of one metric's values; `shift` as in `when`."""
        times, (values,) = self._columns((place,), shift)
        return times, values

    def samples(self, shift: int | None = None) -> Samples:
        """A copy in columns; `shift` as in `when`."""
        return Samples(*self._columns(range(self.width), shift))

    def widen(self) -> None:
        """Hold all rows as they came again."""
        if self.pieces:
            whole = self.samples()
            self.times = array("q", whole.times.tobytes())
            self.numbers = array("d", np.stack(whole.columns, axis=1).tobytes())
            self.pieces, self.packed, self.room = [], 0, ROWS

    def parts(self, shift: int | None) -> list[tuple[Samples, Origin]]:
        """What becomes one chunk, or two where some times are right and some cannot be told
        right yet (`shift` is None); those with their origin."""
        samples = self.samples(shift)
        if shift is not None or not self.marked:
            return [(samples, NOWHERE)]
        mask = np.zeros(self.rows, dtype=np.bool_)
        mask[self.marked] = True
        parts = [(samples.where(~mask), NOWHERE), (samples.where(mask), self.origin)]
        return [(part, origin) for part, origin in parts if len(part.times)]

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        row = 8 + (8 if self.mixed is None else 70) * self.width
        return BASE + len(self.times) * row + self.texts + self.packed


def pack(buffers: Iterable[Buffer], wanted: int) -> None:
    """Have those that hold most rows as they came hold them in less memory, until about so many
    bytes are free. The last rows stay, so that the next ones can be added."""
    able = [buffer for buffer in buffers if buffer.mixed is None]
    while wanted > 0 and (able := [b for b in able if len(b.times) > narrow.ROWS]):
        able.sort(key=lambda buffer: -len(buffer.times))
        due: dict[int, list[Buffer]] = {}
        for buffer in able:
            if wanted > 0:
                due.setdefault(buffer.width, []).append(buffer)
                wanted -= narrow.ROWS * 6 * (buffer.width + 1)
        for width, own in due.items():
            _pack(own, width)


def _pack(buffers: Sequence[Buffer], width: int) -> None:
    count = narrow.ROWS
    times = [np.frombuffer(b.times[:count], np.int64) for b in buffers]
    numbers = [np.frombuffer(b.numbers[: count * width]).reshape(-1, width) for b in buffers]
    like = [b.pieces[-1].decimals if b.pieces else bytes(width) for b in buffers]
    for buffer, piece in zip(buffers, narrow.narrow(times, numbers, like), strict=True):
        buffer.pieces.append(piece)
        buffer.packed += piece.size
        buffer.room -= count
        del buffer.times[:count]
        del buffer.numbers[: count * width]


def text_size(reading: Reading) -> int:
    """Characters of its texts."""
    return sum(len(value) for value in reading.values.values() if type(value) is str)


def _numbers(column: list[Value]) -> Numbers | list[Value]:
    return np.array(column) if set(map(type, column)) == {float} else column


def _begun(spans: Spans, sequence: int) -> bool:
    """Whether the first of them that has not ended yet has begun."""
    while spans and spans[0][1] < sequence:
        del spans[0]
    return bool(spans) and spans[0][0] <= sequence


@dataclass(slots=True)
class Stream:
    """The samples of one device that have the same metrics. id: in the database, 0 while it is
    new there. stored: sequence of the last sample in a chunk. sealed: buffers on their way there.
    kept: sequences (first, last) of chunks above `stored`, ascending: what was saved of a damaged
    database, with gaps that are filled from the journal. claims: likewise of its rollups, by
    level: what fills a gap is in these already.

    first_time, last_time (ns): over everything that is kept; count: of samples. moves: grows
    before and after its rows are replaced by others with the same samples.
    """

    key: Key
    id: int = 0
    stored: int = 0
    open: Buffer | None = None
    sealed: list[Buffer] = field(default_factory=list)
    first_time: int = 0
    last_time: int = 0
    count: int = 0
    kept: Spans = field(default_factory=list)
    claims: dict[int, Spans] = field(default_factory=dict)
    moves: int = 0

    def fits(self, sequence: int, origin: Origin) -> bool:
        """Whether a sample can go into the open buffer: it has room for times of one origin, and
        for samples that the same rollups have."""
        buffer = self.open
        if buffer is None:
            return True
        if origin is not NOWHERE and buffer.marked and buffer.origin != origin:
            return False
        return not self.claims or self._claimed(sequence) == buffer.rolled

    def add(self, sequence: int, reading: Reading, origin: Origin = NOWHERE) -> int:
        """Append one sample, unless it is in a chunk already; how many are open now. From ROWS on
        they are to be flushed."""
        if sequence <= self.stored:
            return 0
        if self.kept and self._is_kept(sequence):
            # A gap ends here. A buffer that went on behind the chunk would claim its place too.
            return ROWS if self.open is not None else 0
        buffer = self.open
        if buffer is None:
            buffer = self.open = Buffer(sequence, len(self.key[1]))
            if self.claims:
                buffer.rolled = self._claimed(sequence)
        buffer.add(sequence, reading, origin)
        return buffer.rows

    def extend(self, part: Part) -> list[Buffer]:
        """Append samples, unless they are in a chunk already; the buffers that were filled, sealed.
        Not for a stream of which something was saved."""
        filled = []
        place, end = int(np.searchsorted(part.sequences, self.stored, "right")), len(part.times)
        while place < end:
            buffer = self.open
            if buffer is None:
                buffer = self.open = Buffer(int(part.sequences[place]), len(part.names))
            rows = slice(place, min(place + buffer.room - len(buffer.times), end))
            buffer.extend(part.sequences[rows], part.times[rows], part.numbers[rows])
            place = rows.stop
            if len(buffer.times) >= buffer.room:
                self.seal()
                filled.append(buffer)
        return filled

    def _is_kept(self, sequence: int) -> bool:
        return _begun(self.kept, sequence)

    def _claimed(self, sequence: int) -> int:
        """The levels that have this sample, a bit each (see gateway.store.rollups)."""
        return sum(1 << (n - 1) for n, own in self.claims.items() if _begun(own, sequence))

    def seal(self) -> Buffer | None:
        """Take the open buffer out, to be stored; it stays visible until then."""
        buffer = self.open
        if buffer is not None:
            self.sealed.append(buffer)  # before: the writer's thread must find it in either place
            self.stored = buffer.last
            self.open = None
        return buffer

    def note(self, buffer: Buffer, shift: int | None) -> None:
        """Count a buffer that has become a chunk; `shift` as in `Buffer.when`."""
        self.count_in(buffer.when(shift))

    def count_in(self, times: Times) -> None:
        """Count samples that have become a chunk."""
        lowest, highest = int(times.min()), int(times.max())
        self.first_time = min(self.first_time or lowest, lowest)
        self.last_time = max(self.last_time, highest)
        self.count += len(times)

    def pending(self) -> list[Buffer]:
        """What is not in a chunk, oldest first."""
        return [*self.sealed, *([self.open] if self.open is not None else [])]
