"""Samples in a quarter of their memory, and back, exactly as they were.

A sensor's values have few decimals and move little, its reports come in a rhythm: what is kept are
the steps of whole numbers (21.5, 21.6 are 215 and +1, tenths), in as few bytes as hold the largest,
and of times the steps of the steps. A column for which that is not exact stays as it is. pcodec
would need half of that memory, and several times the time for as few rows as here; these rows are
compressed by it soon after, with others.
"""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

ROWS = 128
"""Of each piece."""
_AT_ONCE = 32  # pieces; of many more the numbers do not fit into a processor's cache
_DECIMALS = (0, 1, 2, 3, 4)
_TENS = np.array([10.0**places for places in _DECIMALS])
_AS_IT_IS = 255  # instead of decimals: eight bytes for each value
_INTS = (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64))
_LIMITS = np.array([2**7, 2**15, 2**31], dtype=np.int64)


class Piece(NamedTuple):
    """ROWS samples. layout: the integers that hold the steps of times; for each metric how many
    decimals, and the integers for its steps. firsts: int64 of the first time (ns), the first step
    between two, and each metric's first value. data: the steps, times first."""

    layout: bytes
    firsts: bytes
    data: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return 170 + len(self.layout) + len(self.firsts) + len(self.data)

    @property
    def first_time(self) -> int:
        """ns."""
        return int.from_bytes(self.firsts[:8], "little", signed=True)

    @property
    def decimals(self) -> bytes:
        """Of each metric."""
        return self.layout[1::2]


def narrow(
    times: Sequence[Times], numbers: Sequence[Numbers], like: Sequence[bytes]
) -> list[Piece]:
    """Pieces of ROWS times (ns) and a row of values for each, all with as many metrics. like: with
    how many decimals each metric of each piece is tried first. Many at once: numpy takes nearly as
    long for one."""
    pieces: list[Piece] = []
    for at in range(0, len(times), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        pieces += _narrow(times[some], numbers[some], b"".join(like[some]))
    return pieces


def _narrow(times: Sequence[Times], numbers: Sequence[Numbers], like: bytes) -> list[Piece]:
    moments = np.stack(times)
    values = np.ascontiguousarray(np.stack(numbers).transpose(0, 2, 1))
    count, metrics, _ = values.shape
    flat = values.reshape(-1, ROWS)
    decimals, whole = _whole(flat, like)
    time_ints, time_data = _small(np.diff(moments, n=2, axis=1))
    ints, data = _small(np.diff(whole, axis=1))
    for at in np.flatnonzero(decimals == _AS_IT_IS).tolist():
        data[at] = flat[at].tobytes()
    layouts = np.empty((count, 1 + 2 * metrics), dtype=np.uint8)
    layouts[:, 0] = time_ints
    layouts[:, 1::2] = decimals.reshape(count, metrics)
    layouts[:, 2::2] = ints.reshape(count, metrics)
    firsts = np.empty((count, 2 + metrics), dtype="<i8")
    firsts[:, 0] = moments[:, 0]
    firsts[:, 1] = moments[:, 1] - moments[:, 0]
    firsts[:, 2:] = whole[:, 0].reshape(count, metrics)
    return [
        Piece(
            layouts[n].tobytes(),
            firsts[n].tobytes(),
            b"".join((time_data[n], *data[n * metrics : (n + 1) * metrics])),
        )
        for n in range(count)
    ]


def _whole(values: Numbers, like: bytes) -> tuple["npt.NDArray[np.uint8]", _Ints]:
    """Of each row of values: with how many decimals they are whole numbers, and these."""
    decimals = np.frombuffer(like, np.uint8).copy()
    decimals[decimals == _AS_IT_IS] = 0
    whole, exact = _tried(values, _TENS[decimals])
    left = np.flatnonzero(~exact)
    decimals[left] = _AS_IT_IS
    for places in _DECIMALS:
        if not len(left):
            break
        numbers, exact = _tried(values[left], np.full(len(left), _TENS[places]))
        decimals[left[exact]] = places
        whole[left] = numbers
        left = left[~exact]
    return decimals, whole


def _tried(values: Numbers, tens: Numbers) -> tuple[_Ints, "npt.NDArray[np.bool_]"]:
    """Whole numbers of so many times each row, and which rows come back from them."""
    tens = tens[:, None]
    with np.errstate(all="ignore"):  # what has no whole number gives some other one
        whole = np.rint(values * tens).astype(np.int64)
    # By their bits: -0.0 is not 0.0, and nothing equals what is not a number.
    return whole, ((whole / tens).view(np.int64) == values.view(np.int64)).all(axis=1)


def _small(steps: _Ints) -> tuple["npt.NDArray[np.uint8]", list[bytes]]:
    """Each row in the smallest integers that hold it: which, and the bytes."""
    # ~n of what is below zero: the lowest number is one further away than the highest.
    largest = np.maximum(steps, ~steps).max(axis=1)
    kinds = np.searchsorted(_LIMITS, largest, side="right").astype(np.uint8)
    data = [b""] * len(steps)
    for kind in np.unique(kinds).tolist():
        rows = np.flatnonzero(kinds == kind).tolist()
        for row, own in zip(rows, steps[rows].astype(_INTS[kind]), strict=True):
            data[row] = own.tobytes()
    return kinds, data


def widen(
    pieces: Sequence[Piece], places: Collection[int]
) -> tuple[list[Times], list[list[Numbers]]]:
    """What they were made of, in parts: times; of each of these metrics its values."""
    times: list[Times] = []
    columns: list[list[Numbers]] = [[] for _ in places]
    for layout, run in groupby(pieces, lambda piece: piece.layout):
        own = list(run)
        firsts = np.frombuffer(b"".join([p.firsts for p in own]), "<i8").reshape(len(own), -1)
        data = np.frombuffer(b"".join([p.data for p in own]), np.uint8).reshape(len(own), -1)
        starts = _starts(layout)
        steps = _summed(firsts[:, 1], _cut(data, starts[0], ROWS - 2, _INTS[layout[0]]))
        times.append(_summed(firsts[:, 0], steps).reshape(-1))
        for column, place in zip(columns, places, strict=True):
            start, decimals, kind = starts[1 + place], layout[1 + 2 * place], layout[2 + 2 * place]
            if decimals == _AS_IT_IS:
                column.append(_cut(data, start, ROWS, np.dtype(np.float64)).reshape(-1))
            else:
                small = _cut(data, start, ROWS - 1, _INTS[kind])
                column.append((_summed(firsts[:, 2 + place], small) / _TENS[decimals]).reshape(-1))
    return times, columns


def _starts(layout: bytes) -> list[int]:
    """Where in the data of a piece times and each metric begin."""
    starts = [0, (ROWS - 2) * _INTS[layout[0]].itemsize]
    for decimals, kind in zip(layout[1::2], layout[2::2], strict=True):
        as_it_is = decimals == _AS_IT_IS
        starts.append(starts[-1] + (ROWS * 8 if as_it_is else (ROWS - 1) * _INTS[kind].itemsize))
    return starts


def _cut(
    data: "npt.NDArray[np.uint8]", start: int, count: int, kind: "np.dtype[Any]"
) -> "npt.NDArray[Any]":
    """So many numbers of each row."""
    return data[:, start : start + count * kind.itemsize].copy().view(kind)


def _summed(first: _Ints, steps: "npt.NDArray[Any]") -> _Ints:
    """For each row `first`, and what it becomes with each step."""
    found = np.empty((len(steps), steps.shape[1] + 1), dtype=np.int64)
    found[:, 0] = first
    found[:, 1:] = steps
    return np.cumsum(found, axis=1, out=found)
