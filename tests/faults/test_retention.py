"""What retention takes from a bridge is announced before, and counted exactly."""

import asyncio
import logging
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.bus import bus as bus_module
from gateway.bus.bus import Bus
from gateway.bus.subscription import Subscription
from gateway.core.events import DropsSoon
from tests.support.faults import outcome, runs, seeded
from tests.support.journal import SEGMENT, numbered, open_bus, options, publish, running, take


async def watch(bus: Bus, subscription: Subscription, seen: list[int]) -> None:
    """What had been dropped at each announcement that more will be."""
    with bus.live() as live:
        async with aclosing(live.items()) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, DropsSoon):
                    seen.append(subscription.ledger.dropped["retention"])


@pytest.mark.timeout(300)
async def test_retention_is_announced_before_it_drops_and_counts_what_it_drops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bus_module, "HOUSEKEEPING", 0.02)
    caplog.set_level(logging.WARNING)
    chance, kept = seeded(), 8 * SEGMENT
    total = dropped = 0
    for number in range(runs(2, 20)):
        caplog.clear()
        async with open_bus(tmp_path / f"{number}", options(max_size=kept)) as bus:
            lanes = chance.randint(1, 4)
            out = await bus.subscribe("out", ("d[1-3]",), lanes=lanes)
            well = await bus.subscribe("well")
            announced: list[int] = []
            watching = asyncio.create_task(watch(bus, out, announced))
            async with running(bus):
                end = 0
                while not out.ledger.dropped["retention"] or end % 3:
                    size = chance.randint(100, 2_000)
                    await publish(bus, numbered(end, end + size))
                    end += size
                    await take(well, bus.head)
                    assert end < 500_000, "retention never came"
                assert announced == [0], "announced once, while nothing was dropped"
                assert out.endangered
                assert out.drops_in is not None
                assert not well.endangered
                await bus.keeper.look()
                got = set(await take(out, bus.head))
                wanted = {n for n in range(end) if n % 7 in (1, 2, 3)}
                assert got <= wanted
                missing = len(wanted - got)
                assert missing == out.ledger.dropped["retention"]
                assert out.ledger.difference(out.pending) == 0
                assert well.ledger.dropped["retention"] == 0
                await bus.keeper.look()
                assert not out.endangered
                assert out.drops_in is None
            watching.cancel()
        lines = [r for r in caplog.records if "unless it gets through" in r.getMessage()]
        assert len(lines) == 1
        total += end
        dropped += missing
    outcome("retention", published=total, dropped_and_missing_at_the_sink=dropped, unexplained=0)


async def test_a_bridge_that_is_too_far_behind_by_age_is_told(tmp_path: Path) -> None:
    async with open_bus(tmp_path, options(max_age=2.0)) as bus:
        out = await bus.subscribe("out")
        async with running(bus):
            await publish(bus, numbered(0, 8_000))
            await publish(bus, numbered(8_000, 12_000))  # in the second segment
            assert len(bus.journal.segments) == 2
            await bus.keeper.look()
            assert not out.endangered
            assert out.drops_in is not None
            assert 0 < out.drops_in <= 2.0
            await asyncio.sleep(1.6)
            await publish(bus, numbered(12_000, 12_010))
            await bus.keeper.look()
            assert out.endangered
            assert out.ledger.dropped["retention"] == 0
