"""Reading on through the journal in tables: the same readings, in order, however they come."""

import asyncio
from contextlib import aclosing
from pathlib import Path

from gateway.bus.block import Block
from gateway.bus.bus import Bus
from gateway.bus.passages import passages
from gateway.bus.table import Table
from gateway.core.contracts import Flag, Reading
from tests.support.journal import numbered, open_bus, publish, running


async def read(bus: Bus, begin: int, until: int) -> list[Block | Table]:
    found = []
    async with asyncio.timeout(20), aclosing(passages(bus, begin)) as each:  # type: ignore[type-var]
        async for passage in each:
            found.append(passage)
            if passage.end >= until:
                break
    return found


def readings(passage: Block | Table) -> list[tuple[int, Reading]]:
    if isinstance(passage, Table):
        return passage.readings()
    return list(enumerate(passage.readings, passage.first))


async def test_what_is_in_memory_comes_in_one_table(tmp_path: Path) -> None:
    given = numbered(0, 500)
    async with open_bus(tmp_path) as bus, running(bus):
        for begin in range(0, 500, 100):
            await publish(bus, given[begin : begin + 100])
        found = await read(bus, 1, 501)
    assert [type(each) for each in found] == [Table]
    assert readings(found[0]) == list(enumerate(given, 1))


async def test_readings_of_many_devices_stay_as_they_are(tmp_path: Path) -> None:
    """A table of one reading each would cost five times what they do."""
    given = [Reading(f"d{n}", 10**18 + n, {"n": float(n)}) for n in range(100)]
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, given)
        (found,) = await read(bus, 1, 101)
        assert isinstance(found, Block)
        assert found is bus.recent_from(1)[0]
    async with open_bus(tmp_path) as bus:
        (found,) = await read(bus, 1, 101)
    assert isinstance(found, Block)
    assert found.settled
    assert found.readings == given


async def test_marked_readings_keep_their_block(tmp_path: Path) -> None:
    """Their times are put right by what the block says of itself."""
    given = [Reading("d", 10**18 + n, {"n": 1.0}, Flag.UNSYNCED.value) for n in range(100)]
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 100))
        await publish(bus, given)
        found = await read(bus, 1, 201)
    assert [type(each) for each in found] == [Table, Block]


async def test_much_is_taken_together(tmp_path: Path) -> None:
    commits = 40
    async with open_bus(tmp_path) as bus, running(bus):
        reading = asyncio.create_task(read(bus, 1, commits * 500 + 1))
        for number in range(commits):
            await publish(bus, numbered(number * 500, number * 500 + 500))
        found = await reading
    got = [each for passage in found for each in readings(passage)]
    assert [int(reading.values["n"]) for _, reading in got] == list(range(commits * 500))
    assert [sequence for sequence, _ in got] == list(range(1, commits * 500 + 1))
    assert len(found) < commits / 2


async def test_little_does_not_wait_for_more(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus, running(bus):
        await publish(bus, numbered(0, 10))
        found: list[int] = []
        async with asyncio.timeout(20), aclosing(passages(bus, 1)) as each:  # type: ignore[type-var]
            async for passage in each:
                found.append(passage.end)
                if len(found) == 3:
                    break
                await publish(bus, numbered(passage.end - 1, passage.end + 9))
    assert found == [11, 21, 31]


async def test_whoever_waits_in_vain_ends_when_told_and_is_forgotten(tmp_path: Path) -> None:
    asked = 0

    def ended() -> bool:
        nonlocal asked
        asked += 1
        return asked > 1

    async with open_bus(tmp_path) as bus, running(bus):
        for _ in range(50):
            assert not await bus.more(bus.head, asyncio.get_running_loop().time())
        async with asyncio.timeout(20), aclosing(passages(bus, 1, ended=ended)) as each:  # type: ignore[type-var]
            assert [found async for found in each] == []
        assert asked == 2
        assert bus._waiters == []
