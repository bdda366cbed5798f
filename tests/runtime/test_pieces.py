"""A burst that takes long to decode is taken in pieces; nobody can tell but by the clock."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.core.contracts import Burst, Stored
from gateway.runtime.decoded import Decoded
from gateway.runtime.intake import Intake
from gateway.runtime.pieces import Pieces
from tests.runtime.test_intake import frame, pumping, settled, stored

_EACH = 0.0004  # what the slow decoder takes for a frame (s)


def slow_down(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Decoding takes its time from now on; gives how many frames it was given each time."""
    given, decode = [], intake.decoder.decode

    def slowly(burst: Burst, *others: Any) -> Decoded:
        given.append(len(burst))
        time.sleep(_EACH * len(burst))
        return decode(burst, *others)

    monkeypatch.setattr(intake.decoder, "decode", slowly)
    return given


async def longest_turn(until: "asyncio.Task[Any]") -> float:
    """How long nothing else could run on the loop (s)."""
    longest, before = 0.0, time.perf_counter()
    while not until.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return longest


async def test_others_get_on_beside_a_slow_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pumping(tmp_path) as (wire, intake, bus, _):
        given = slow_down(intake, monkeypatch)
        wire.put(*(frame(number, number + 1) for number in range(300)))
        await settled(wire, 1)
        began = time.perf_counter()
        wire.put(*(frame(number, number + 1) for number in range(300, 4_000)))
        wire.put(*(frame(number, number + 1) for number in range(4_000, 4_300)))
        longest = await longest_turn(asyncio.create_task(settled(wire, 3)))
        took = time.perf_counter() - began
        assert longest < took / 4, given
        assert [number for number, _ in wire.told] == [0, 1, 2]  # once each, in order
        assert all(outcome == Stored() for _, outcome in wire.told)
        assert await stored(bus) == [(f"d{n % 3}", float(n)) for n in range(4_300)]
        assert (intake.ledger.journalled, intake.ledger.difference) == (4_300, 0)


async def test_what_is_sent_again_is_recognised_across_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pumping(tmp_path) as (wire, intake, bus, _):
        given = slow_down(intake, monkeypatch)
        wire.put(*(frame(number, number + 1) for number in range(1_000)))
        wire.put(*(frame(number, number + 1, True) for number in range(1_100)))
        await settled(wire, 2)
        assert len(given) > 2
        assert await stored(bus) == [(f"d{n % 3}", float(n)) for n in range(1_100)]
        assert (intake.ledger.repeated, intake.ledger.difference) == (1_000, 0)


def test_who_is_told_of_each_frame_gets_one_answer() -> None:
    pieces = Pieces()
    pieces.took(1_000, time.perf_counter() - 10.0)
    topics, payloads = ["a"] * 1_000, [b"1"] * 1_000
    assert len(list(pieces.of(Burst(0, topics, payloads)))) == 5
    assert len(list(pieces.of(Burst(0, topics, payloads, patient=False)))) == 1


def test_only_the_last_piece_hurries_and_only_the_first_begins_a_session() -> None:
    pieces = Pieces()
    pieces.took(1_000, time.perf_counter() - 10.0)
    burst = Burst(0, ["a"] * 450, [b"1"] * 450, urgent=True, renewed=True)
    found = list(pieces.of(burst))
    assert [len(piece) for piece in found] == [200, 200, 50]
    assert [piece.urgent for piece in found] == [False, False, True]
    assert [piece.renewed for piece in found] == [True, False, False]
