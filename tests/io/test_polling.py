"""Ticks stay on their grid."""

import asyncio

import pytest

from gateway.io.polling import every


async def test_ticks_do_not_drift() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    at = []
    async for missed in every(0.05):
        assert missed == 0
        at.append(loop.time() - began)
        await asyncio.sleep(0.02)  # work takes time; the grid does not move
        if len(at) == 6:
            break
    assert at[0] < 0.03
    for number, when in enumerate(at):
        assert when >= number * 0.05 - 0.001


async def test_missed_ticks_are_skipped_and_counted() -> None:
    seen = []
    async for missed in every(0.02):
        seen.append(missed)
        if len(seen) == 1:
            await asyncio.sleep(0.11)
        if len(seen) == 3:
            break
    assert seen[0] == 0
    assert seen[1] >= 4
    assert seen[2] == 0


async def test_the_first_tick_can_wait_and_begins_the_grid() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    at = []
    async for missed in every(0.05, first=0.1):
        assert missed == 0
        at.append(loop.time() - began)
        if len(at) == 3:
            break
    for number, when in enumerate(at):
        assert when >= 0.1 + number * 0.05 - 0.001


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
async def test_an_interval_that_would_spin_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        await anext(every(interval))
