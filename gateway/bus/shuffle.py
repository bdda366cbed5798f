"""Numbers as a block has them on the disk: matrices of 8-byte cells, all first bytes, then all
second ones, …, which zstd packs to about half."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
"""Numbers or places, one after the other."""

_LONG = 32  # rows of a matrix from which on it costs less to turn each by itself than all at once


def shuffled(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> bytes:
    """The bytes of an array of 8-byte cells, shuffled."""
    return array.view(np.uint8).reshape(-1, 8).T.tobytes()


def unshuffled(data: bytes, dtype: type[np.float64] | type[np.int64]) -> "np.ndarray":
    """The cells of one array, in one row. Raises ValueError if the bytes make no whole cells."""
    planes = np.frombuffer(data, dtype=np.uint8).reshape(8, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)


def unshuffled_each(data: bytes, lengths: Ints, width: int) -> npt.NDArray[np.uint8]:
    """Matrices that were shuffled one by one: all rows of the first, then of the second, …, of
    8-byte cells."""
    planes = np.frombuffer(data, np.uint8)
    if len(set(lengths.tolist())) == 1:
        whole = planes.reshape(len(lengths), 8, width, -1).transpose(0, 3, 2, 1)
        return np.ascontiguousarray(whole).reshape(-1, 8 * width)
    if lengths.mean() >= _LONG:
        turned = np.empty((int(lengths.sum()), width, 8), np.uint8)
        end = np.cumsum(lengths).tolist()
        for begin, stop in pairwise([0, *end]):
            part = planes[8 * width * begin : 8 * width * stop]
            turned[begin:stop] = part.reshape(8, width, -1).transpose(2, 1, 0)
        return turned.reshape(-1, 8 * width)
    sizes = lengths * width
    # Where the first byte of a cell is, and how far from there the next one.
    cell = np.arange(int(lengths.sum())) + np.repeat(
        8 * (np.cumsum(sizes) - sizes) - (np.cumsum(lengths) - lengths), lengths
    )
    first = cell[:, None] + np.repeat(lengths, lengths)[:, None] * np.arange(width)
    step = np.repeat(sizes, lengths)[:, None]
    found = np.empty((len(cell), width, 8), np.uint8)
    for byte in range(8):
        found[:, :, byte] = planes[first]
        first += step
    return found.reshape(-1, 8 * width)
