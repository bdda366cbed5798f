"""What of some samples history has not yet: what is there already is not to be stored again."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.core.contracts import Value
from gateway.store.buffers import Key, Stream
from gateway.store.chunks import Samples
from gateway.store.history import History
from gateway.store.rows import DamagedChunkError
from gateway.store.stretches import SQL, GoneError, fetch

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]


async def unknown(
    history: History, key: Key, samples: Samples, own: set[int]
) -> list[tuple[Key, Samples]]:
    """The values of `samples`, which are in the order of time, that history has not of the same
    device, metric and time; by set of metrics. own: chunks that do not count. Raises
    sqlite3.Error."""
    device, metrics = key
    known = np.zeros((len(metrics), len(samples.times)), dtype=np.bool_)
    for stream in history.streams_with(device, metrics):
        pending = history.pending(stream)
        work = Comparison(metrics, samples, known, own)
        for _, waiting in pending:
            work.hold(waiting.times, stream.key[1], waiting.columns.__getitem__)
        if stream.id:
            seen = {first for first, _ in pending}
            await asyncio.to_thread(work.hold_chunks, history, stream, seen)
    if not known.any():
        return [(key, samples)]
    return [
        ((device, chosen), part)
        for pattern in np.unique(known, axis=1).T
        if (chosen := tuple(m for m, has in zip(metrics, pattern, strict=True) if not has))
        for part in [_some(samples, (known == pattern[:, None]).all(axis=0), ~pattern)]
    ]


def _some(samples: Samples, rows: Mask, columns: Mask) -> Samples:
    chosen = [samples.columns[place] for place in np.flatnonzero(columns).tolist()]
    return Samples(samples.times, chosen).where(rows)


@dataclass(slots=True)
class Comparison:
    """Marks in `known`, metric by sample, what of `samples` is found elsewhere as well. own: chunks
    that do not count."""

    metrics: tuple[str, ...]
    samples: Samples
    known: Mask
    own: set[int]

    def hold_chunks(self, history: History, stream: Stream, seen: set[int]) -> None:
        """Against the chunks of a stream, one by one. Blocks. Raises sqlite3.Error."""
        start, end = int(self.samples.times[0]), int(self.samples.times[-1]) + 1
        args = {"stream": stream.id, "start": start, "end": end, "most": -1}
        rows = history.database.read_now(lambda c: c.execute(SQL["next"], args).fetchall())
        for number, *_, first in rows:
            if number in self.own or first in seen:
                continue
            try:
                chunk = fetch(history.database, number)
                self.hold(chunk.times, stream.key[1], chunk.column)
            except (GoneError, DamagedChunkError) as error:
                log.info("history: chunk %d is not compared with: %s", number, error)

    def hold(self, times: Any, names: tuple[str, ...], column: Any) -> None:
        """Against samples at `times`; column: gives the values of the metric at a place in
        `names`."""
        rows = np.flatnonzero(np.isin(self.samples.times, times))
        if not len(rows):
            return
        matching = np.flatnonzero(np.isin(times, self.samples.times[rows]))
        for place, metric in enumerate(self.metrics):
            if metric not in names:
                continue
            there = column(names.index(metric))
            mine = self.samples.columns[place]
            had = {(int(times[at]), *_typed(there[at])) for at in matching.tolist()}
            for row in rows.tolist():
                if (int(self.samples.times[row]), *_typed(mine[row])) in had:
                    self.known[place, row] = True


def _typed(value: Any) -> tuple[type, Value]:
    """A value and its type: 1, 1.0 and true are not the same."""
    plain = value.item() if isinstance(value, np.generic) else value
    return type(plain), plain
