"""Reading on through the journal for whoever keeps columns: in tables where that pays, with what
comes next read from the disk while the last is taken."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from gateway.bus.block import Block
from gateway.bus.bus import Bus
from gateway.bus.journal import Journal
from gateway.bus.reader import read_tables
from gateway.bus.table import Table, Tables

_MUCH = 4_000  # readings a second; and so many are not waited for any longer
_GATHER = 1.0  # longest that readings wait for others (s)
_LOOK = 1.0  # how often whoever waits is asked whether that has become idle (s)


async def passages(
    bus: Bus, position: int, *, follow: bool = True, ended: Callable[[], bool] = lambda: False
) -> AsyncIterator[Block | Table]:
    """Every reading from the block that holds `position` on; otherwise as `Bus.blocks`. ended:
    whether it need not be waited for more; asked each second while nothing comes."""
    ahead, gathering = _Ahead(bus), _Gathering(bus)
    try:
        while True:
            head = bus.head
            found = await ahead.read(position) or _recent(bus, position)
            if not found:
                # At the end, lost, or on a disk that cannot be read at the moment.
                block = await bus.block(position)
                found = [block] if block is not None else []
            for each in found:
                if each.first > position:
                    bus.keeper.gap(position, each.first)
                yield each if isinstance(each, Table) else bus.journal.times.resolved(each)
                position = each.end
            if not found:
                if not follow:
                    return
                position = max(position, head)  # what lay up to there is lost
                while not await gathering.more(position):
                    if ended():
                        return
    finally:
        ahead.close()


def _recent(bus: Bus, position: int) -> Sequence[Table | Block]:
    """What is in memory from there on."""
    tables = Tables(bus.head)
    for block in bus.recent_from(position):
        if not tables.full:
            tables.take_block(block)
    return tables.done()


class _Gathering:
    """Waits for more; where much comes, until much is there: for whoever keeps columns, a second's
    readings cost a third together of what they do one commit at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._at, self._head = 0.0, 0

    async def more(self, position: int) -> bool:
        """Wait for a reading at or after `position`; False where none has come for a while."""
        loop = asyncio.get_running_loop()
        if not await self._bus.more(position, loop.time() + _LOOK):
            return False
        now = loop.time()
        if self._bus.head - self._head >= _MUCH * (now - self._at):
            await self._bus.more(position + _MUCH, now + _GATHER)
        self._at, self._head = now, self._bus.head
        return True


class _Ahead:
    """Reads from the disk, once more than it is asked for."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._position = 0
        self._task: asyncio.Task[Sequence[Table | Block]] | None = None

    async def read(self, position: int) -> Sequence[Table | Block]:
        """What is on the disk from there on; nothing where that is in memory as well."""
        if self._task is None or self._position != position:
            self._begin(position)
        if self._task is None:
            return ()
        found = await self._task
        self._begin(found[-1].end if found else self._bus.recent)
        return found

    def _begin(self, position: int) -> None:
        self.close()
        if position < self._bus.recent:
            work = asyncio.to_thread(_read, self._bus.journal, position, self._bus.head)
            self._task, self._position = asyncio.create_task(work), position

    def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


def _read(journal: Journal, position: int, head: int) -> Sequence[Table | Block]:
    try:
        return read_tables(journal, position, head)
    except OSError:  # it passes; whoever reads block by block says so, and waits
        return ()
