"""Bursts in pieces, so that one that takes long to decode does not hold up everything else."""

import time
from collections.abc import Iterator
from dataclasses import replace

from gateway.core.contracts import Burst

_TURN = 0.05  # how long the event loop may be held by one piece (s)
_FEWEST = 200  # frames: what each piece costs besides must not count


class Pieces:
    """Cuts the bursts of one source so that each piece takes some 50 ms at the pace of the one
    before. What slows decoding down, a codec as much as a processor that others have, is not known
    beforehand: at 4,000 frames of 3 ms in one piece, nothing else would get on for 12 s, the
    watchdog and whoever tells what is wrong among it."""

    def __init__(self) -> None:
        self._most = float("inf")  # frames
        self._worked = 0.0  # since others were let on (s)

    def of(self, burst: Burst) -> Iterator[Burst]:
        """The burst, or its pieces in order; the last one tells the source that all are stored."""
        count = len(burst)
        # Who is not patient is told of each frame by its place in the burst.
        if count <= self._most or not burst.patient or burst.readings is not None:
            yield burst
            return
        most = int(self._most)
        for first in range(0, count, most):
            yield _piece(burst, first, min(first + most, count))

    def took(self, frames: int, began: float) -> bool:
        """A piece was worked at since `began` (s, perf_counter): are others to be let on?"""
        seconds = time.perf_counter() - began
        self._worked += seconds
        if frames:
            self._most = max(_TURN * frames / max(seconds, 1e-9), _FEWEST)
        if self._worked < _TURN:
            return False
        self._worked = 0.0
        return True


def _piece(burst: Burst, first: int, end: int) -> Burst:
    last = end == len(burst)
    here = slice(first, end)
    return replace(
        burst,
        topics=burst.topics[here],
        payloads=burst.payloads[here],
        packet_ids=burst.packet_ids[here],
        repeats=burst.repeats[here],
        forwarded=burst.forwarded[here],
        faults=burst.faults[here],
        on_done=burst.on_done if last else None,
        urgent=burst.urgent and last,
        renewed=burst.renewed and not first,
    )
