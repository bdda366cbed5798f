"""What is over a limit is refused, counted and acknowledged; everybody else notices nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.bus.bus import Bus
from gateway.bus.live import LiveSubscription
from gateway.codecs.json import JsonSettings
from gateway.core.contracts import Burst, Outcome, Reading, Stored
from gateway.core.errors import DecodeError
from gateway.core.events import Event, Limited
from gateway.io.sqlite.database import Database
from gateway.runtime.decoded import Limits
from gateway.runtime.decoding import Decoder
from gateway.runtime.finishing import Finishing
from gateway.runtime.intake import Intake, Services
from gateway.runtime.rates import Rates
from gateway.stages.profiling import Profiler
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import Devices
from gateway.store.history import History
from gateway.store.taking import MOST_SETS
from tests.support.journal import open_bus, running


class Wire:
    """A device whose bursts a test gives."""

    name = "wire"

    def __init__(self) -> None:
        self.bursts: asyncio.Queue[Burst] = asyncio.Queue()
        self.told: list[int] = []
        self.put_ = 0

    async def listen(self) -> AsyncIterator[Burst]:
        while True:
            yield await self.bursts.get()

    def put(self, *frames: tuple[str, bytes]) -> None:
        number, self.put_ = self.put_, self.put_ + 1
        topics, payloads = ([frame[0] for frame in frames], [frame[1] for frame in frames])

        def done(outcome: Outcome) -> None:
            assert outcome == Stored()
            self.told.append(number)

        ids = range(1 + 1_000 * number, 1 + 1_000 * number + len(frames))
        self.bursts.put_nowait(
            Burst(
                time.time_ns(), [f"devices/{t}/x" for t in topics], payloads, list(ids),
                [False] * len(frames), on_done=done,
            )
        )  # fmt: skip

    async def settled(self) -> None:
        async with asyncio.timeout(20):
            while len(self.told) < self.put_:
                await asyncio.sleep(0.01)


class SlowLetters(DeadLetters):
    """Dead letters on a disk that takes its time."""

    async def keep(self, letters: Any) -> None:
        await asyncio.sleep(1.0)
        await super().keep(letters)


@asynccontextmanager
async def pumping(
    directory: Path, limits: Limits, letters: type[DeadLetters] = DeadLetters, **known: int
) -> AsyncIterator[tuple[Wire, Intake, Bus, DeadLetters]]:
    wire = Wire()
    state = Database(directory / "state.db", files("gateway.store") / "migrations" / "state")
    async with open_bus(directory / "journal") as bus, running(bus):
        devices, store = Devices(state, **known), letters(state)
        services = Services(bus, devices, store, Profiler(CollectorRegistry()))
        decoder = Decoder(
            "wire", JsonSettings().build(), lambda topic: topic.split("/")[1], devices, limits,
            lambda burst: (burst.received, 0),
        )  # fmt: skip
        intake = Intake(wire, decoder, services)
        task = asyncio.create_task(intake.run())
        try:
            yield wire, intake, bus, store
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(state.close)


async def stored(bus: Bus) -> list[tuple[str, Any]]:
    return [
        (reading.device, reading.values["n"])
        async for block in bus.blocks(1, follow=False)
        for reading in block.readings
    ]


def said(number: int) -> bytes:
    return b'{"n": %d}' % number


async def test_what_is_over_the_rate_is_refused_and_nobody_elses(tmp_path: Path) -> None:
    async with pumping(tmp_path, Limits(rate=1, burst=20)) as (wire, intake, bus, letters):
        with bus.live() as live:
            frames = []
            for number in range(50):
                frames.append(("loud", said(number)))
                if number % 10 == 0:
                    frames.append(("quiet", said(number)))
            wire.put(*frames)
            wire.put(("loud", said(99)), ("quiet", said(99)))
            await wire.settled()
            events = [item async for item in _taken(live) if isinstance(item, Limited)]
        kept = await stored(bus)
        assert [n for device, n in kept if device == "loud"] == [float(n) for n in range(20)]
        assert [n for device, n in kept if device == "quiet"] == [0.0, 10.0, 20.0, 30.0, 40.0, 99.0]
        assert intake.ledger.dropped == {"rate": 31}
        assert (intake.ledger.difference, intake.ledger.in_flight) == (0, 0)
        assert intake.refusals.counts == {"rate": 31}
        assert intake.services.devices.get("loud").refused == 31
        assert intake.services.devices.get("quiet").refused == 0
        assert [(event.limit, event.example) for event in events] == [("rate", "loud")]
        assert await letters.list("wire") == []


async def _taken(live: LiveSubscription) -> AsyncIterator[Any]:
    while live._items:
        yield live._items.popleft()


async def test_who_waits_for_an_answer_is_told_which_frames_are_no_readings(tmp_path: Path) -> None:
    async with pumping(tmp_path, Limits(rate=1, burst=3)) as (wire, intake, bus, _):
        told: list[Outcome] = []
        for patient in (False, True):
            topics = ["devices/a/x", "devices/a/x", "devices/!/x", "devices/a/x", "devices/a/x"]
            payloads = [said(1), b"{", said(2), said(3), said(4)]
            burst = Burst(time.time_ns(), topics, payloads, on_done=told.append, patient=patient)
            wire.bursts.put_nowait(burst)
        async with asyncio.timeout(20):
            while len(told) < 2:
                await asyncio.sleep(0.01)
        impatient, patient_one = told
        assert isinstance(impatient, Stored)
        reasons = {place: each.reason for place, each in impatient.rejected.items()}
        assert reasons == {1: "malformed", 2: "device", 4: "rate"}
        assert patient_one == Stored()
        assert await stored(bus) == [("a", 1.0), ("a", 3.0)]
        assert intake.ledger.difference == 0


class Sized:
    """A codec that says how long a payload is."""

    def decode(self, device: str, payload: bytes, received: int) -> list[Any]:
        return [(None, {"n": float(len(payload))})]


async def test_a_topic_may_say_how_its_frames_are_written(tmp_path: Path) -> None:
    def codec_of(topic: str) -> Any:
        if topic.endswith("#odd"):
            raise DecodeError("nobody reads that", reason="format")
        return Sized() if topic.endswith("#sized") else JsonSettings().build()

    async with pumping(tmp_path, Limits()) as (_, intake, __, ___):
        decoder = Decoder(
            "wire", JsonSettings().build(), lambda topic: topic.split("/")[1],
            intake.services.devices, Limits(), lambda burst: (burst.received, 0), codec_of,
        )  # fmt: skip
        topics = ["t/a", "t/a/#sized", "t/a/#odd", "t/a", "t/a"]
        for _ in range(2):  # also once it knows them
            payloads = [said(7), b"12345", b"1", b"{", said(8)]
            decoded = decoder.decode(Burst(time.time_ns(), topics, payloads))
            assert [reading.values["n"] for reading in decoded.readings] == [7.0, 5.0, 8.0]
            assert [(bad.place, bad.reason) for bad in decoded.bad] == [
                (2, "format"), (3, "malformed"),
            ]  # fmt: skip


async def test_readings_that_a_driver_made_itself_have_a_rate_too(tmp_path: Path) -> None:
    async with pumping(tmp_path, Limits(rate=1, burst=3)) as (wire, intake, bus, _):
        readings = [Reading("sensor", time.time_ns(), {"n": float(n)}) for n in range(5)]
        wire.put_ += 1
        wire.bursts.put_nowait(
            Burst(time.time_ns(), readings=readings, on_done=lambda _: wire.told.append(0))
        )
        await wire.settled()
        assert await stored(bus) == [("sensor", 0.0), ("sensor", 1.0), ("sensor", 2.0)]
        assert (intake.ledger.dropped["rate"], intake.ledger.difference) == (2, 0)


async def test_senders_that_are_no_device_share_one_rate(tmp_path: Path) -> None:
    """A flood of names beyond the limit of devices may not become a flood of dead letters."""
    async with pumping(tmp_path, Limits(rate=1, burst=5), limit=1) as (wire, intake, bus, letters):
        wire.put(("first", said(1)), *[(f"stranger-{n}", said(n)) for n in range(50)])
        wire.put(("first", said(2)))
        await wire.settled()
        assert await stored(bus) == [("first", 1.0), ("first", 2.0)]
        assert len(await letters.list("wire")) == 5
        assert intake.refusals.counts == {"devices": 5, "rate": 45}
        assert (intake.ledger.dead_lettered, intake.ledger.dropped["rate"]) == (5, 45)
        assert intake.ledger.difference == 0


async def test_metrics_of_one_device_and_of_all_are_bounded(tmp_path: Path) -> None:
    limits = {"series": 3, "total_series": 5}
    async with pumping(tmp_path, Limits(), **limits) as (wire, intake, bus, letters):
        wire.put(
            ("a", b'{"n": 1, "b": 1, "c": 1}'), ("a", b'{"n": 2, "d": 1}'), ("a", said(3)),
            ("b", b'{"n": 4, "b": 1}'), ("b", b'{"n": 5, "c": 1}'), ("b", said(6)),
        )  # fmt: skip
        await wire.settled()
        assert await stored(bus) == [("a", 1.0), ("a", 3.0), ("b", 4.0), ("b", 6.0)]
        reasons = sorted(letter.reason for letter in await letters.list("wire"))
        assert reasons == ["too_many_in_all", "too_many_series"]
        assert intake.refusals.counts == {"series": 1, "total_series": 1}
        assert intake.ledger.difference == 0


async def test_bad_frames_delay_no_good_ones_and_are_acknowledged_in_order(tmp_path: Path) -> None:
    async with pumping(tmp_path, Limits(), SlowLetters) as (wire, intake, bus, letters):
        with bus.live() as live:
            for number in range(20):
                wire.put(("a", said(number)), ("a", b"{"))
                wire.put(("b", said(number)))
            began, seen = time.monotonic(), 0
            while seen < 40 and time.monotonic() - began < 0.8:
                await asyncio.sleep(0.01)
                seen += sum([len(i) async for i in _taken(live) if not isinstance(i, Event)])
        assert seen == 40, "decoded before the first dead letter is on disk"
        assert wire.told == [], "nothing is acknowledged before it is kept"
        await wire.settled()
        assert wire.told == sorted(wire.told)
        assert len(await letters.list("wire")) == 20
        assert (intake.ledger.dead_lettered, intake.ledger.difference) == (20, 0)


def test_bursts_end_in_the_order_in_which_they_came() -> None:
    finishing, told = Finishing(), []
    steps = [finishing.add(n, lambda number=number: told.append(number))  # type: ignore[misc]
             for number, n in enumerate((2, 1, 2))]  # fmt: skip
    steps[2](), steps[1](), steps[2](), steps[0]()
    assert told == []
    steps[0]()
    assert told == [0, 1, 2]


@given(
    rate=st.integers(1, 100), burst=st.integers(1, 50),
    bursts=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 60)), max_size=30),
)  # fmt: skip
def test_no_more_passes_than_the_burst_and_the_rate_allow(
    rate: int, burst: int, bursts: list[tuple[float, int]]
) -> None:
    """In any stretch of time; and whoever keeps to the rate is never refused."""
    rates, now, passed = Rates(rate, burst), 1_000.0, []
    for pause, count in bursts:
        now += pause
        left = rates.left([("loud", count), ("quiet", 0)], now)
        assert "quiet" not in left
        passed.append((now, left.get("loud", count)))
        assert 0 <= passed[-1][1] <= count
    for index, (start, _) in enumerate(passed):
        total = 0
        for moment, count in passed[index:]:
            total += count
            assert total <= burst + rate * (moment - start) + 1


def test_names_that_give_one_id_stay_cheap(tmp_path: Path) -> None:
    state = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    devices = Devices(state)
    took = []
    for part in range(4):
        began = time.process_time()
        for number in range(1_000):
            devices.id_of("pump" + "!" * (1 + part * 1_000 + number), "mqtt")
        took.append(time.process_time() - began)
    assert len(devices) == 4_000
    assert took[3] < 5 * took[0] + 0.05, took
    state.close()


def test_sets_of_metrics_are_not_all_remembered(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.store.admission._SHAPES", 30)
    state = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    devices = Devices(state, series=50)
    device = devices.id_of("a", "mqtt")
    for number in range(200):
        values: Any = {f"m{number % 40}": 1.0, f"m{number % 7}": 1.0}
        assert devices.admit(device, values) is values
    assert sum(map(len, devices.get(device).shapes)) <= 30
    assert devices.admission.series == 40
    with pytest.raises(DecodeError):
        devices.admit(device, {f"x{n}": 1.0 for n in range(20)})
    assert devices.admission.series == 40
    state.close()


async def test_history_keeps_every_value_of_any_set_of_metrics(tmp_path: Path) -> None:
    history = History(tmp_path, 86_400.0)
    now = time.time_ns()
    count = 3 * MOST_SETS
    readings = [
        Reading("a", now + n * 10**6, {"n": float(n), f"m{n % 20}": 1.0, f"k{n % 23}": 2.0})
        for n in range(count)
    ]
    history.add(1, readings)
    found = await history.query("a", "n", now - 10**9, now + 10**12, 10_000)
    assert [value for _, value in found] == [float(n) for n in range(count)]
    assert len(history._streams) <= MOST_SETS + 44
    await history.close()
    again = History(tmp_path, 86_400.0)
    found = await again.query("a", "n", now - 10**9, now + 10**12, 10_000)
    assert [value for _, value in found] == [float(n) for n in range(count)]
    await again.close()


def test_a_subscriber_that_does_not_listen_holds_a_bounded_number_of_values() -> None:
    live = LiveSubscription(1_000)
    burst = [Reading("a", n, dict.fromkeys(map(str, range(100)), 1.0)) for n in range(500)]
    for _ in range(100):
        live.put(burst)
    assert sum(len(item) * 100 for item in live._items if not isinstance(item, Event)) <= 200_000
    assert live.dropped == 100 - len(live._items)
