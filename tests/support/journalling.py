"""A program that journals, and says what it was told: `python -m tests.support.journalling`.

What it writes to its standard output are facts in the order in which they held: `publish N RUN`
before a reading is given to the bus, `ack N RUN` when it was told that the reading is durable,
`retire N` before readings below sequence N are deleted, `key ID` when a frame is acknowledged,
`sent NAME N ...` before a subscription finishes readings. Reading number N has sequence
N + 1, always: what a run lost, the next one publishes again under the same number with its own
RUN, so that a reading of another run is told from the one that was acknowledged.
"""

import argparse
import asyncio
import os
import random
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from gateway.bus import block as block_module
from gateway.bus import bus as bus_module
from gateway.bus.bus import Bus
from gateway.bus.gather import Entry
from gateway.bus.journal import Journal
from gateway.bus.records import RepeatKeys
from gateway.bus.segment import Segment
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Reading
from tests.support.journal import options, stamp

SOURCE = "source"
SEGMENT = 1 << 14
LANES = 2
UNSEEDED = SimpleNamespace(crc32=lambda data, seed=0: zlib.crc32(data))
"""In place of zlib in gateway.bus.block: a checksum that does not tell of which segment a block
is."""


def reading(number: int, run: int) -> Reading:
    """Reading `number` as run `run` publishes it; always the same."""
    noise = random.Random(number * 31 + run)
    values = {"n": float(number), "run": float(run), "noise": noise.random()}
    if number % 5 == 0:
        values |= {"text": noise.choice("abc") * noise.randrange(20), "on": noise.random() < 0.5}
    return Reading(f"d{number % 7}", 1_700_000_000_000_000_000 + number, values)


def say(*words: object) -> None:
    """One fact, in one write: what is not said at once was not said before a power cut."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class ToldJournal(Journal):
    """A journal that says what it is about to delete. dies: ends the process, as kill -9 does,
    once the disk has refused."""

    dies = False

    def _refused(self, error: OSError) -> None:
        if self.dies:
            os._exit(0)
        super()._refused(error)

    def retire(self, segment: Segment) -> None:
        say("retire", self.segments[1].first if len(self.segments) > 1 else self.next)
        super().retire(segment)


class Run:
    """One life of the program."""

    def __init__(self, bus: Bus, run: int, chance: random.Random) -> None:
        self.bus = bus
        self.run = run
        self.chance = chance
        self.next = bus.head - 1
        self.packet_id = run * 10_000

    def publish(self, count: int) -> asyncio.Future[None]:
        """Publish a burst of `count` readings, one frame each."""
        told = asyncio.get_running_loop().create_future()
        numbers = range(self.next, self.next + count)
        self.next += count
        ids = array("H", range(self.packet_id, self.packet_id + count))
        self.packet_id += count
        for number in numbers:
            say("publish", number, self.run)

        def done() -> None:
            for number, packet_id in zip(numbers, ids, strict=True):
                say("ack", number, self.run)
                say("key", packet_id)
            told.set_result(None)

        keys = RepeatKeys(SOURCE, ids.tobytes(), array("I", ids).tobytes())
        readings = [reading(number, self.run) for number in numbers]
        self.bus.publish(Entry(readings, 50 * count, keys, done=done))
        return told

    async def work(self, commits: int) -> None:
        """So many commits, most of one burst."""
        for _ in range(commits):
            told = [
                self.publish(self.chance.randint(1, 12))
                for _ in range(self.chance.choice((1, 1, 1, 3)))
            ]
            await asyncio.wait_for(asyncio.gather(*told), 30)


async def deliver(subscription: Subscription, number: int, chance: random.Random) -> None:
    """A lane that finishes what it gets, now and then after a while."""
    lane = subscription.lanes[number]
    while True:
        batch = await lane.next_batch(20, 0.005)
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0, 0.05))
        batch.tally.delivered = len(batch)
        say("sent", subscription.name, *(int(r.values["n"]) for r in batch.readings))
        lane.done(batch)


async def live(directory: Path, run: int, commits: int, chance: random.Random) -> None:
    """One life: open, say again what a repeated frame would be told, publish, end in order."""
    bus_module.HOUSEKEEPING = 0.05
    settings = options(segment=SEGMENT, max_size=4 * SEGMENT, gather=0.005)
    journal = ToldJournal(directory, settings, stamp)
    bus = Bus(journal, journal.open())
    quick = await bus.subscribe("quick", start="earliest", lanes=LANES)
    some = await bus.subscribe("some", ("d[1-4]",), start="earliest")
    async for block in bus.blocks(journal.start, follow=False):
        for found in block.readings:
            # A source sends again what it was not told of; a repeat is acknowledged at once.
            say("ack", int(found.values["n"]), int(found.values["run"]))
    work = asyncio.create_task(bus.run())
    lanes = [asyncio.create_task(deliver(quick, number, chance)) for number in range(LANES)]
    lanes.append(asyncio.create_task(deliver(some, 0, chance)))
    await asyncio.sleep(0)
    await Run(bus, run, chance).work(commits)
    for task in (work, *lanes):
        task.cancel()
    await asyncio.to_thread(journal.stop)


def dying(after: int) -> Callable[[int], None]:
    """An fdatasync that ends the process, as kill -9 does, when it is called for the last time."""
    real, left = os.fdatasync, [after]

    def fdatasync(fd: int) -> None:
        left[0] -= 1
        if not left[0]:
            os._exit(0)
        real(fd)

    return fdatasync


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--run", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--commits", type=int, required=True)
    parser.add_argument("--die", type=int, default=0, help="at this fdatasync, before it")
    parser.add_argument("--die-refused", action="store_true", help="when the disk refuses")
    parser.add_argument("--no-sync", action="store_true", help="without fdatasync: must lose")
    parser.add_argument("--no-seed", action="store_true", help="see UNSEEDED: must be wrong")
    args = parser.parse_args()
    if args.no_seed:
        vars(block_module)["zlib"] = UNSEEDED
    ToldJournal.dies = args.die_refused
    if args.no_sync:
        os.fdatasync = lambda fd: None
    elif args.die:
        os.fdatasync = dying(args.die)
    chance = random.Random(args.seed)
    asyncio.run(live(args.directory, args.run, args.commits, chance))


if __name__ == "__main__":
    main()
