"""From bursts to the journal: what is stored, what is a repeat, what is a dead letter, and when
the sender is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.bus.bus import Bus
from gateway.codecs.json import JsonSettings
from gateway.core.contracts import Burst, Flag, Outcome, Stored
from gateway.io.sqlite.database import Database
from gateway.runtime.decoded import Decoded, Limits
from gateway.runtime.decoding import Decoder
from gateway.runtime.intake import Intake, Services, _gather
from gateway.runtime.letters import Letters
from gateway.stages.profiling import Profiler
from gateway.store.dead_letters import DeadLetter, DeadLetters
from gateway.store.devices import Devices
from tests.support.journal import open_bus, running


class Wire:
    """A device whose bursts a test gives."""

    name = "wire"

    def __init__(self) -> None:
        self.bursts: asyncio.Queue[Burst] = asyncio.Queue()
        self.told: list[tuple[int, Outcome]] = []

    async def listen(self) -> AsyncIterator[Burst]:
        while True:
            yield await self.bursts.get()

    def put(self, *frames: tuple[str, bytes, int, bool], renewed: bool = False) -> None:
        topics, payloads, ids, repeats = (list(column) for column in zip(*frames, strict=True))
        number = self.bursts.qsize() + len(self.told)
        self.bursts.put_nowait(
            Burst(
                time.time_ns(), topics, payloads, ids, repeats,
                on_done=lambda outcome: self.told.append((number, outcome)),
                renewed=renewed,
            )
        )  # fmt: skip


@asynccontextmanager
async def pumping(
    directory: Path, synced: bool = True, wire: Wire | None = None
) -> AsyncIterator[tuple[Wire, Intake, Bus, DeadLetters]]:
    wire = wire or Wire()
    migrations = files("gateway.store") / "migrations" / "state"
    state = Database(directory / "state.db", migrations)
    async with open_bus(directory / "journal") as bus, running(bus):
        letters = DeadLetters(state)
        services = Services(bus, Devices(state), letters, Profiler(CollectorRegistry()))
        decoder = Decoder(
            "wire", JsonSettings().build(), lambda topic: topic.split("/")[1],
            services.devices, Limits(payload=1_000, topic=50),
            lambda burst: (burst.received, 0 if synced else Flag.UNSYNCED.value),
        )  # fmt: skip
        intake = Intake(wire, decoder, services, bus.recovered_keys("wire"))
        task = asyncio.create_task(intake.run())
        try:
            yield wire, intake, bus, letters
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(state.close)


async def settled(wire: Wire, count: int) -> None:
    async with asyncio.timeout(10):
        while len(wire.told) < count:
            await asyncio.sleep(0.01)


async def stored(bus: Bus) -> list[tuple[str, Any]]:
    return [
        (reading.device, reading.values["n"])
        async for block in bus.blocks(1, follow=False)
        for reading in block.readings
    ]


class Clinging(Wire):
    """One whose end fails."""

    begun = 0

    async def listen(self) -> AsyncIterator[Burst]:
        self.begun += 1
        try:
            yield await self.bursts.get()
        finally:
            raise OSError("it cannot be closed")


def frame(number: int, packet_id: int, repeat: bool = False) -> tuple[str, bytes, int, bool]:
    return (f"devices/d{number % 3}/telemetry", b'{"n": %d}' % number, packet_id, repeat)


async def test_told_in_order_after_the_commit(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, intake, bus, _):
        for number in range(20):
            wire.put(frame(number, number + 1))
        await settled(wire, 20)
        assert [number for number, _ in wire.told] == sorted(number for number, _ in wire.told)
        assert all(outcome == Stored() for _, outcome in wire.told)
        assert await stored(bus) == [(f"d{n % 3}", float(n)) for n in range(20)]
        assert intake.ledger.journalled == 20
        assert intake.ledger.difference == 0


async def test_a_driver_whose_end_fails_is_ended_all_the_same(tmp_path: Path) -> None:
    wire = Clinging()
    async with asyncio.timeout(10), pumping(tmp_path, wire=wire):
        while not wire.begun:
            await asyncio.sleep(0.01)
    assert wire.begun == 1


async def test_what_is_sent_again_is_recognised_also_after_a_restart(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, intake, bus, _):
        wire.put(frame(1, 1), frame(2, 2))
        wire.put(frame(2, 2, True), frame(3, 3, True))  # 3 was lost on its way to us
        await settled(wire, 2)
        assert await stored(bus) == [("d1", 1.0), ("d2", 2.0), ("d0", 3.0)]
        assert (intake.ledger.repeated, intake.ledger.difference) == (1, 0)
    async with pumping(tmp_path) as (wire, intake, bus, _):
        wire.put(frame(2, 2, True), frame(3, 3, True), frame(4, 3, True))
        await settled(wire, 1)
        # The same packet id with another payload is another message.
        assert await stored(bus) == [("d1", 1.0), ("d2", 2.0), ("d0", 3.0), ("d1", 4.0)]
        assert (intake.ledger.repeated, intake.ledger.difference) == (2, 0)


async def test_a_new_session_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    """A door that says "closed" every minute: after a restart of the broker packet ids begin
    again, and a message that a cut connection had lost looks like one of the session before."""
    async with pumping(tmp_path) as (wire, intake, bus, _):
        wire.put(frame(1, 1), frame(1, 2))
        wire.put(frame(1, 1), renewed=True)
        wire.put(frame(1, 1, True), frame(1, 2, True))
        await settled(wire, 3)
        assert await stored(bus) == [("d1", 1.0)] * 4
        assert (intake.ledger.repeated, intake.ledger.difference) == (1, 0)


async def test_the_same_message_twice_without_a_mark_is_two_messages(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, _, bus, __):
        wire.put(frame(1, 1), frame(1, 1))
        await settled(wire, 1)
        assert await stored(bus) == [("d1", 1.0), ("d1", 1.0)]


async def test_bad_frames_are_kept_before_they_are_acknowledged(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, intake, bus, letters):
        long_topic = "devices/" + "x" * 50 + "/telemetry"
        wire.put(
            frame(1, 1),
            ("devices/a/telemetry", b"{", 2, False),
            ("devices/a/telemetry", b'{"n": "' + b"x" * 1_000 + b'"}', 3, False),
            (long_topic, b'{"n": 1}', 4, False),
            ("devices/!!!/telemetry", b'{"n": 1}', 5, False),
            frame(2, 6),
        )
        await settled(wire, 1)
        kept = await letters.list("wire")
        assert sorted(letter.reason for letter in kept) == [
            "device", "malformed", "too_large", "topic_too_long",
        ]  # fmt: skip
        assert await stored(bus) == [("d1", 1.0), ("d2", 2.0)]
        assert (intake.ledger.dead_lettered, intake.ledger.difference) == (4, 0)


async def test_readings_without_a_time_never_share_one(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, _, bus, __):
        wire.put(*[frame(3 * n, n + 1) for n in range(50)])
        wire.put(*[frame(3 * n, n + 60) for n in range(50)])
        await settled(wire, 2)
        times = [r.time async for block in bus.blocks(1, follow=False) for r in block.readings]
        assert len(set(times)) == 100
        assert times == sorted(times)


async def test_a_time_that_cannot_be_true_is_replaced(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, _, bus, __):
        now = time.time_ns()
        for number, stamp in enumerate((1, now // 10**6 - 5_000, now // 10**6 + 10**9)):
            payload = b'{"n": %d, "ts": %d}' % (number, stamp)
            wire.put(("devices/a/telemetry", payload, number + 1, False))
        await settled(wire, 3)
        times = [r.time async for block in bus.blocks(1, follow=False) for r in block.readings]
        assert abs(times[0] - now) < 10**10
        assert times[1] == (now // 10**6 - 5_000) * 10**6
        assert abs(times[2] - now) < 10**10


async def test_a_time_no_clock_can_have_does_not_stop_the_journal(tmp_path: Path) -> None:
    """Also while our own clock is not set and says nothing about others'."""
    async with pumping(tmp_path, synced=False) as (wire, _, bus, __):
        for number, stamp in enumerate((9 * 10**19, 2**63, 2**63 - 1)):
            payload = b'{"n": %d, "ts": %d}' % (number, stamp)
            wire.put(("devices/a/telemetry", payload, number + 1, False))
        wire.put(("devices/a/telemetry", b'{"n": 9}', 9, False))
        await settled(wire, 4)
        assert ("a", 9.0) in await stored(bus)


async def test_dead_letters_of_a_source_are_decoded_again(tmp_path: Path) -> None:
    """After the codec was put right, what it could not read is journalled at its own time."""
    async with pumping(tmp_path) as (wire, intake, bus, letters):
        wire.put(("devices/a/telemetry", b'{"n": 1}', 1, False))
        await settled(wire, 1)
        then = time.time_ns() - 3600 * 10**9
        payloads = (b'{"n": 2}', b'{"n": ', b'{"n": 3, "text": "' + b"x" * 5_000 + b'"}')
        await letters.add(
            [
                DeadLetter("decode", "wire", "malformed", topic="devices/b/telemetry",
                           payload=payload, time=then)
                for payload in payloads
            ]
        )  # fmt: skip
        store = Letters(letters, {"wire": intake}, {})
        found = await store.retry("wire", [], 0)
        assert found["taken"] == 1
        assert [letter["id"] for letter in found["kept"]] == [2, 3]
        assert found["kept"][1]["reason"] == "only 4096 of its 5020 bytes were kept"
        assert await stored(bus) == [("a", 1.0), ("b", 2.0)]
        last = [block async for block in bus.blocks(2, follow=False)][-1].readings[-1]
        assert last.flags == Flag.HISTORICAL
        assert abs(last.time - then) <= 10**6
        assert [letter.id for letter in await letters.list("wire")] == [3, 2]
        assert intake.ledger.difference == 0
        with pytest.raises(LookupError, match="no dead letter 1"):
            await store.retry("wire", [1], 0)
        with pytest.raises(LookupError, match="no bridge and no source"):
            await store.show("else", 10, 100)


async def test_what_the_source_found_wrong_is_a_dead_letter_and_not_decoded(tmp_path: Path) -> None:
    async with pumping(tmp_path) as (wire, intake, bus, letters):
        topics, payloads = ["devices/a/telemetry"] * 3, [b'{"n": 1}', b'{"n": 2}', b'{"n": 3}']
        faults = [None, ("cut", "it began before we listened"), None]
        told: list[Outcome] = []
        # The second time its topic and metrics are known, and the quick way would take it.
        for _ in range(2):
            burst = Burst(time.time_ns(), topics, payloads, faults=faults, on_done=told.append)
            wire.bursts.put_nowait(burst)
        async with asyncio.timeout(10):
            while len(told) < 2:
                await asyncio.sleep(0.01)
        assert await stored(bus) == [("a", 1.0), ("a", 3.0)] * 2
        (letter,) = [each for each in await letters.groups() if each["reason"] == "cut"]
        assert letter["count"] == 2
        assert (intake.ledger.dead_lettered, intake.ledger.difference) == (2, 0)


def test_frames_that_say_nothing_hurry_no_commit() -> None:
    burst = Burst(1, ["a"], [b"x"])
    assert _gather(burst, Decoded(frames=1)) is None
    assert _gather(burst, Decoded()) == 0.0  # nothing but repeats: they are told of at once
    assert _gather(Burst(1, ["a"], [b"x"], urgent=True), Decoded(frames=1)) == 0.0
