"""How a bridge's attempts go: how long they take, and what share of them fails now and then."""

import contextlib
import time

import pytest

from gateway.core.contracts import Batch, Reading
from gateway.core.errors import Rejected, Unavailable
from gateway.core.events import Event
from gateway.stages.health import HealthStage


async def attempt(stage: HealthStage, error: Exception | None = None) -> None:
    async def send(batch: Batch) -> None:
        if error is not None:
            raise error

    with contextlib.suppress(Unavailable, Rejected):
        await stage(Batch(0, 1, [Reading("d", 1, {"a": 1.0})]), send)


async def test_what_fails_now_and_then_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    stage = HealthStage("sink", events.append)
    for _ in range(4):
        await attempt(stage)
        await attempt(stage, Unavailable("no"))
    assert stage.failing == 0.0  # too few to say
    for _ in range(20):
        await attempt(stage)
        await attempt(stage, Unavailable("no"))
    assert stage.failing == pytest.approx(50, abs=0.1)
    assert stage.failed == {"unavailable": 24}
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 3000)
    assert stage.failing == 0.0  # long ago


async def test_an_outage_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = HealthStage("sink", lambda event: None)
    for _ in range(30):
        await attempt(stage)
    for _ in range(100):
        await attempt(stage, Unavailable("no"))
    for _ in range(9):
        await attempt(stage)
    assert stage.failing == pytest.approx(2.5, abs=0.1)


async def test_what_is_refused_was_answered() -> None:
    stage = HealthStage("sink", lambda event: None)
    for _ in range(30):
        await attempt(stage, Rejected("bad"))
    assert stage.failing == 0.0


async def test_seconds_follow_what_attempts_take() -> None:
    stage = HealthStage("sink", lambda event: None)
    assert stage.seconds == 0.0
    await attempt(stage)
    assert 0.0 < stage.seconds < 1.0
