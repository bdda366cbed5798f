"""A backlog that is too old goes out as a reading of each device and minute, and is counted so."""

import time
from pathlib import Path

from gateway.core.contracts import Flag, Reading
from gateway.runtime.summaries import summarised
from tests.support.delivering import delivering
from tests.support.journal import publish
from tests.support.sink import Sink

MINUTE = 60 * 10**9
BEGIN = 1_795_212_000 * 10**9 // MINUTE * MINUTE


def test_numbers_are_averaged_and_keep_their_kind_other_values_are_the_last() -> None:
    readings = [
        Reading("a", BEGIN, {"t": 20.0, "n": 3, "on": True, "text": "x", "odd": 1}),
        Reading("b", BEGIN + 5, {"t": 1.0}),
        Reading("a", BEGIN + 10, {"t": float("nan"), "n": 4}, int(Flag.LATE)),
        Reading("a", BEGIN + MINUTE - 1, {"t": 23.0, "n": 6, "on": False, "text": "y", "odd": 2.5}),
        Reading("a", BEGIN + MINUTE, {"t": 99.0}),
    ]
    first, other, alone = summarised(readings)
    assert (first.device, first.time, first.flags) == ("a", BEGIN + MINUTE - 1, int(Flag.LATE))
    assert first.values == {"t": 21.5, "n": 4, "on": False, "text": "y", "odd": 2.5}
    assert [type(value) for value in first.values.values()] == [float, int, bool, str, float]
    assert other is readings[1]
    assert alone is readings[4]


def test_numbers_of_any_size() -> None:
    large = [Reading("a", BEGIN + n, {"n": 10**400, "x": 1.7e308, "y": -0.0}) for n in range(3)]
    (found,) = summarised(large)
    assert found.values["n"] == 10**400
    assert found.values["x"] == 1.7e308


async def test_an_old_backlog_is_summarised_and_the_rest_is_not(tmp_path: Path) -> None:
    sink = Sink()
    now = time.time_ns()
    # A reading each second for an hour, two hours ago; and some of now.
    old = [
        Reading(f"d{n % 2}", now - 2 * 3_600 * 10**9 + n * 10**9, {"n": float(n)})
        for n in range(3_600)
    ]
    young = [Reading(f"d{n % 2}", now + n, {"n": float(n)}) for n in range(100)]
    settings = {"pool": {"max": 1}, "batch": {"size": 900, "wait": "20ms"}}
    async with delivering(tmp_path, sink, retry={"summaries": "1h"}, **settings) as work:
        await work.delivery.pause()
        for start in range(0, 3_600, 900):
            await publish(work.bus, old[start : start + 900])
        await work.delivery.resume()
        await work.settled()
        sent = len(sink.taken)
        # 61 minutes of two devices, and one more of each where a write ends within a minute.
        assert 120 <= sent <= 2 * (61 + 4)
        assert work.ledger["dropped"] == {"summarised": 3_600 - sent}
        assert work.ledger["delivered"] == sent
        await publish(work.bus, young)
        await work.settled()
        assert [r.values["n"] for r in sink.taken[sent:]] == [float(n) for n in range(100)]
        average = sum(r.values["n"] for r in sink.taken[:sent]) / sent  # type: ignore[misc]
        assert abs(average - 1_800) < 40
