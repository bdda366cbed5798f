"""Whatever happens to the journal's files, it opens, gives what is whole, and counts the rest."""

import asyncio
import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.bus.bus import Bus
from gateway.bus.segment import START, Segment
from gateway.bus.subscription import Subscription
from tests.support import journalling
from tests.support.faults import outcome, runs, seeded
from tests.support.journal import open_bus, options, publish, running, take

SETTINGS = options(segment=journalling.SEGMENT)
NAMES = {"quick": (("*",), 2, 0.7), "some": (("d[1-4]",), 1, 0.2)}  # filter, lanes, share taken


@dataclass
class Base:
    """A journal as it was before the damage. blocks: (file, offset, end of its bytes, numbers)."""

    directory: Path
    blocks: list[tuple[str, int, int, range]] = field(default_factory=list)
    delivered: dict[str, set[int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.blocks[-1][3].stop


async def subscribe(bus: Bus, name: str) -> Subscription:
    patterns, lanes, _ = NAMES[name]
    return await bus.subscribe(name, patterns, "earliest", lanes)


async def make(directory: Path, chance: random.Random) -> Base:
    """Some hundred commits in several files; the subscriptions have taken a part of it."""
    base = Base(directory)
    async with open_bus(directory, SETTINGS) as bus:
        subscriptions = [await subscribe(bus, name) for name in NAMES]
        async with running(bus):
            number = 0
            for _ in range(150):
                count = chance.randint(1, 12)
                await publish(
                    bus, [journalling.reading(n, 1) for n in range(number, number + count)]
                )
                number += count
            for subscription in subscriptions:
                name = subscription.name
                base.delivered[name] = set(await take(subscription, int(number * NAMES[name][2])))
            await publish(bus, [journalling.reading(number, 1)])
        for segment in bus.journal.segments:
            base.blocks += blocks_of(segment)
    return base


def blocks_of(segment: Segment) -> list[tuple[str, int, int, range]]:
    firsts, offsets = [*segment.firsts, segment.end], [*segment.offsets, segment.tail]
    return [
        (segment.path.name, offsets[n], offsets[n + 1], range(firsts[n] - 1, firsts[n + 1] - 1))
        for n in range(len(segment.firsts))
    ]


class Damage:
    """Ways to spoil a directory; each gives the bytes that it touched: file -> ranges."""

    def __init__(self, directory: Path, base: Base, chance: random.Random) -> None:
        self.files = sorted({block[0] for block in base.blocks})
        self.directory = directory
        self.base = base
        self.chance = chance
        self.touched: list[tuple[str, int, int]] = []

    def _pick(self) -> tuple[Path, int]:
        name, offset, end, _ = self.chance.choice(self.base.blocks)
        place = self.chance.choice(
            (self.chance.randrange(offset, end), self.chance.randrange(START))
        )
        return self.directory / name, place if self.chance.random() < 0.2 else max(place, offset)

    def _write(self, path: Path, place: int, data: bytes) -> None:
        if not path.is_file():
            return
        with path.open("r+b") as file:
            file.seek(place)
            file.write(data)
        self.touched.append((path.name, place, place + len(data)))

    def flip(self) -> None:
        path, place = self._pick()
        if path.is_file():
            old = path.read_bytes()[place : place + 1] or b"\0"
            self._write(path, place, bytes([old[0] ^ 1 << self.chance.randrange(8)]))

    def zeros(self) -> None:
        path, place = self._pick()
        self._write(path, place, bytes(self.chance.choice((512, 4096, 20_000))))

    def garbage(self) -> None:
        path, place = self._pick()
        self._write(path, place, self.chance.randbytes(self.chance.choice((16, 512, 4096))))

    def cut(self) -> None:
        path, place = self._pick()
        if path.is_file():
            with path.open("r+b") as file:
                file.truncate(place)
            self.touched.append((path.name, place, 1 << 40))

    def missing(self) -> None:
        path = self.directory / self.chance.choice(self.files)
        if path.is_file():
            path.unlink()
            self.touched.append((path.name, 0, 1 << 40))

    def replaced_by_directory(self) -> None:
        self.missing()
        name = self.touched[-1][0] if self.touched else self.files[0]
        if not (self.directory / name).exists():
            (self.directory / name).mkdir()

    def swapped(self) -> None:
        one, other = self.chance.sample(self.files, 2)
        if (self.directory / one).is_file() and (self.directory / other).is_file():
            shutil.copyfile(self.directory / one, self.directory / other)
            self.touched.append((other, 0, 1 << 40))

    def foreign(self) -> None:
        name = self.chance.choice(
            ("notes.seg", "000000000000.seg", "000000000777.seg", "x.seg.bak")
        )
        (self.directory / name).write_bytes(self.chance.randbytes(5_000))

    def apply(self) -> list[str]:
        ways: list[Callable[[], None]] = [
            self.flip, self.flip, self.zeros, self.garbage, self.cut, self.missing,
            self.replaced_by_directory, self.swapped, self.foreign,
        ]  # fmt: skip
        chosen = self.chance.choices(ways, k=self.chance.choice((1, 1, 1, 2, 4)))
        for way in chosen:
            way()
        return [way.__name__ for way in chosen]

    def whole(self) -> set[int]:
        """The numbers whose blocks were not touched."""
        return {
            number
            for name, offset, end, numbers in self.base.blocks
            if not any(n == name and a < end and b > offset for n, a, b in self.touched)
            for number in numbers
        }


async def examine(directory: Path, base: Base, damage: Damage) -> Counter[str]:
    """Open what was spoiled, take everything, go on, open again."""
    began = time.monotonic()
    found: Counter[str] = Counter()
    whole = damage.whole()
    async with open_bus(directory, SETTINGS) as bus:
        took = time.monotonic() - began
        assert took < 10, f"opening took {took:.1f} s"
        head = bus.head
        assert head > max(whole, default=0)
        subscriptions = [await subscribe(bus, name) for name in NAMES]
        cursors = {name: bus._recovered.cursors.get(name) for name in NAMES}
        async with running(bus):
            for subscription in subscriptions:
                got = set(await take(subscription, bus.head))
                name = subscription.name
                wanted = {n for n in whole if subscription.wants(f"d{n % 7}")}
                missing = wanted - got - base.delivered[name]
                assert missing == set(), f"{name}: whole and not delivered: {sorted(missing)[:9]}"
                assert got <= set(range(base.count)), f"{name}: never published"
                ledger = subscription.ledger
                await settled(subscription)
                found["damaged"] += ledger.dropped["damaged"]
                if cursors[name] is not None and name == "quick":
                    told = ledger.delivered + sum(ledger.dropped.values())
                    assert told == ledger.matched
            new = [journalling.reading(n, 2) for n in range(head - 1, head + 4)]
            await publish(bus, new)
            for subscription in subscriptions:
                got = set(await take(subscription, bus.head))
                fresh = {int(r.values["n"]) for r in new if subscription.wants(r.device)}
                assert got == fresh
                await settled(subscription)
        found["told"] += len(bus.journal.damage)
    async with open_bus(directory, SETTINGS) as bus:
        assert bus.head >= head + 5
        for name in NAMES:
            subscription = await subscribe(bus, name)
            assert subscription.pending == 0
            assert subscription.ledger.difference(0) == 0
    return found


async def settled(subscription: Subscription) -> None:
    """The ledger explains everything, at the latest after the next look."""
    for _ in range(200):
        if subscription.ledger.difference(subscription.pending) == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{subscription.name}: {subscription.ledger} {subscription.pending}")


@pytest.mark.timeout(900)
async def test_a_spoiled_journal_opens_and_counts_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    chance, cases = seeded(), runs(50, 500)
    total: Counter[str] = Counter()
    base = None
    for case in range(cases):
        if case % 50 == 0:
            base = await make(tmp_path / f"base-{case}", chance)
        assert base is not None
        copy = tmp_path / "copy"
        shutil.copytree(base.directory, copy)
        damage = Damage(copy, base, chance)
        ways = damage.apply()
        try:
            total += await examine(copy, base, damage)
        except AssertionError as error:
            raise AssertionError(f"case {case}, {ways} {damage.touched}: {error}") from error
        lost = base.count - len(damage.whole())
        total["cases"] += 1
        total["lost"] += lost
        shutil.rmtree(copy)
    assert total["damaged"] > 0
    outcome("journal-damaged", cases=total["cases"], readings_in_damaged_blocks=total["lost"],
            places_told=total["told"], unexplained=0)  # fmt: skip
