"""Imported by Python before anything else: clocks that are off by what a file says.

libfaketime cannot be used: with the monotonic clock left alone, its time.sleep() fails.
"""

import mmap
import os
import struct
import time

with open(os.environ["BERRYGATE_SHIFT"], "rb") as _file:  # noqa: PTH123 - before anything else
    _map = mmap.mmap(_file.fileno(), 16, access=mmap.ACCESS_READ)
_wall, _any = time.time_ns, time.clock_gettime_ns


def _shift(place: int) -> int:
    return int(struct.unpack_from("<q", _map, place)[0])


def _time_ns() -> int:
    return _wall() + _shift(0)


def _clock_gettime_ns(clock: int) -> int:
    return _any(clock) + (_shift(8) if clock == time.CLOCK_BOOTTIME else 0)


time.time_ns = _time_ns
time.time = lambda: _time_ns() / 1e9
time.clock_gettime_ns = _clock_gettime_ns
