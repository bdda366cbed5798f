"""Blocks that are in memory no more, read back from the disk: what was read along with one is kept
for whoever goes on there."""

import asyncio
import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from gateway.bus.block import Block
from gateway.bus.journal import Journal
from gateway.bus.reader import read

log = logging.getLogger(__name__)

_RUNS = 8  # of blocks read back, shared by lanes that catch up side by side
_PAUSE = 1.0  # before what could not be read for want of something is read again (s)


class ReadBack:
    """See the module; on the event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._runs: OrderedDict[int, asyncio.Task[list[Block]]] = OrderedDict()

    async def read(self, sequence: int) -> Block | None:
        """The block that holds `sequence`, or the next one on the disk; None where none follows."""
        for run in reversed(self._runs.values()):
            if run.done() and _succeeded(run):
                known = _within(run.result(), sequence)
                if known is not None:
                    return known
        while True:
            task = self._runs.get(sequence)
            if task is None or task.done():
                task = asyncio.create_task(asyncio.to_thread(read, self._journal, sequence))
                self._runs[sequence] = task
                while len(self._runs) > _RUNS:
                    self._runs.popitem(last=False)
            try:
                # Shielded: the lane that asked first may be stopped while another waits for the
                # same.
                found = await asyncio.shield(task)
                return found[0] if found else None
            except OSError as error:
                log.error("journal: cannot be read at the moment: %s", error)
                await asyncio.sleep(_PAUSE)


def _succeeded(task: "asyncio.Task[list[Block]]") -> bool:
    return not task.cancelled() and task.exception() is None


def _within(run: Sequence[Block], sequence: int) -> Block | None:
    """The block of a run that holds `sequence`."""
    place = bisect_right(run, sequence, key=lambda block: block.first) - 1
    return run[place] if place >= 0 and sequence < run[place].end else None
