"""Operations timed with a decorator or a context, sync and async: told once, also at an error."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from gateway.core.profiling import measure, profiled, report_to

Told = list[tuple[str, float, int]]


@pytest.fixture
def told() -> Iterator[Told]:
    found: Told = []
    report_to(lambda stage, seconds, records=1: found.append((stage, seconds, records)))
    yield found
    report_to(None)


@profiled("read")
def read(number: int, *, twice: bool = False) -> int:
    """Reads."""
    time.sleep(0.02)
    return number * (2 if twice else 1)


@profiled("ask")
async def ask(number: int) -> int:
    await asyncio.sleep(0.02)
    if number < 0:
        raise ValueError("negative")
    return number


def test_a_function(told: Told) -> None:
    assert read(3, twice=True) == 6
    assert read.__doc__ == "Reads."
    [(stage, seconds, records)] = told
    assert (stage, records) == ("read", 1)
    assert seconds >= 0.02


async def test_an_async_function_until_it_is_done(told: Told) -> None:
    assert asyncio.iscoroutinefunction(ask)
    assert await asyncio.gather(ask(1), ask(2)) == [1, 2]
    assert [stage for stage, *_ in told] == ["ask", "ask"]
    assert all(seconds >= 0.015 for _, seconds, _ in told)


async def test_what_fails_is_told_too(told: Told) -> None:
    with pytest.raises(ValueError, match="negative"):
        await ask(-1)
    assert len(told) == 1


async def test_a_context(told: Told) -> None:
    with measure("parse", records=5):
        await asyncio.sleep(0.02)
    with measure("parse") as parsing:
        parsing.records = 7
    assert [(stage, records) for stage, _, records in told] == [("parse", 5), ("parse", 7)]
    assert told[0][1] >= 0.015


def test_nobody_listens() -> None:
    assert read(1) == 1
