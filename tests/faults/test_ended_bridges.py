"""Bridges that are ended in the middle of whatever they do."""

import asyncio
from pathlib import Path

from gateway.core.errors import Unavailable
from tests.support.delivering import delivering, now_numbered
from tests.support.faults import outcome, runs, seeded
from tests.support.journal import publish
from tests.support.sink import Sink


async def test_an_end_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Bridges are ended in every await there is: each reading is delivered or a dead letter, the
    ledger explains all, and what comes twice is what was on its way."""
    chance, rounds, published = seeded(), runs(25, 300), 0
    sink, repeats = Sink(), 0
    sink.refuses = lambda reading: reading.values["n"] % 50 == 7
    batch = {"size": 20, "wait": "10ms"}
    for _ in range(rounds):
        sink.named = chance.random() < 0.5
        sink.fails = Unavailable("away") if chance.random() < 0.3 else None
        sink.slow = {f"d{n}": chance.uniform(0, 0.02) for n in range(5)}
        async with delivering(tmp_path, sink, batch=batch) as work:
            count = chance.randrange(50)
            if count:
                await publish(work.bus, now_numbered(published, published + count))
                published += count
            if chance.random() < 0.3:
                await work.delivery.pause()
                await work.delivery.resume()
            await asyncio.sleep(chance.uniform(0, 0.1))
            assert work.ledger["matched"] == published
    sink.fails, sink.slow = None, {}
    async with delivering(tmp_path, sink, batch=batch) as work:
        await work.settled()
        bad = {n for n in range(published) if n % 50 == 7}
        assert set(sink.numbers()) == set(range(published)) - bad
        letters = await work.letters.list("sink", limit=10_000)
        assert {int(letter.reading.values["n"]) for letter in letters if letter.reading} == bad
        assert work.ledger["delivered"] == published - len(bad)
        assert work.ledger["dead_lettered"] == len(bad)
        for device in range(5):  # each device's readings came in their order, whatever came twice
            came = list(dict.fromkeys(n for n in sink.numbers() if n % 5 == device))
            assert came == sorted(came)
        repeats = len(sink.taken) - (published - len(bad))
        # At most what four lanes had on their way, each time.
        assert repeats <= rounds * 4 * 20
    outcome("bridge-ended-anywhere", rounds=rounds, published=published, sent_twice=repeats)
