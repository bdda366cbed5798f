"""What is old and much goes out beside what is new, not before it."""

import time
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.faults.test_frozen_sinks import DEVICES, RATE, of, two_sinks
from tests.support.faults import FULL, outcome


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_replay_does_not_disturb_live_readings(tmp_path: Path) -> None:
    """Readings go out again at the highest rate a replay has, four times the live one, through the
    bridge whose live readings are watched."""
    seconds = 120 if FULL else 20
    with two_sinks(tmp_path) as (house, live, _, healthy):
        time.sleep(5)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(1)
            of(house, "healthy")  # looked at as often as below: looking costs, too
        replaying = time.monotonic()
        times = 0
        while time.monotonic() - replaying < seconds:
            asked = httpx.post(
                f"{house.url}/api/v1/bridges/healthy/replay", json={"start": "-1h"}, timeout=30
            )
            assert asked.status_code == 202, asked.text
            while of(house, "healthy")["replay"]["state"] != "done":
                assert time.monotonic() - replaying < 4 * seconds, "the replay hangs"
                time.sleep(1)
            times += 1
        ended = time.monotonic()
        time.sleep(2)
        control, during = live.p99s(began, replaying), live.p99s(replaying, ended)
        live.__exit__()
        # What has just been sent is not pending before it is committed.
        house.wait(lambda: of(house, "healthy")["matched"] == live.count)
        house.wait(lambda: of(house, "healthy")["pending"] == 0)
        found = of(house, "healthy")
        assert found["difference"] == 0
        assert found["delivered"] == found["matched"] == live.count
        assert found["replayed"] >= times * seconds * RATE
        stored = sum(len(healthy.values(f"d{n}", "seq")) for n in range(DEVICES))
        assert stored == live.count
    noise = max(control) / min(control)
    outcome(
        "replay-beside-live", live_p99_before=round(median(control), 3),
        live_p99_during=round(median(during), 3), control_spread=round(noise, 2), replays=times,
        replayed=found["replayed"], a_second=round(found["replayed"] / (ended - replaying)),
    )  # fmt: skip
    assert median(during) / median(control) <= max(1.10, noise)
