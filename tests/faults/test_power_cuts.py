"""After a power cut at any moment, what was acknowledged is there.

A program that journals is recorded: four lives. The first is killed between a write and its
fdatasync, in the second an fdatasync fails, in the third both happen. Then the disk is put
together as a power cut at any moment may have left it, and opened. BERRYGATE_SEED repeats a run,
BERRYGATE_RUNS sets how many disks.
"""

import asyncio
import random
import shutil
import sys
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pytest

from gateway.bus import block as blocks
from gateway.bus.bus import Bus
from gateway.bus.journal import Journal
from gateway.bus.recovery import Recovered
from gateway.bus.subscription import Subscription
from gateway.core.contracts import Reading
from gateway.core.ids import device_filter
from tests.support import journalling
from tests.support.disks import needs_strace
from tests.support.faults import FULL, outcome, runs, seeded
from tests.support.journal import numbered, numbers, open_bus, options, publish, running, stamp
from tests.support.power_cut import Call, Disk, record

PER_RECORDING = 250
KEYS = 100  # frames acknowledged last, of which every one must be recognised


@dataclass
class Facts:
    """What the program has said until now. published: the runs that published each number.
    acknowledged: number -> run. retired: what lies below this sequence may be gone."""

    published: dict[int, set[int]] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)
    retired: int = 0
    keys: list[tuple[int, int]] = field(default_factory=list)
    sent: dict[str, set[int]] = field(default_factory=dict)

    def take(self, words: list[str]) -> None:
        match words:
            case ["publish", number, run]:
                self.published.setdefault(int(number), set()).add(int(run))
            case ["ack", number, run]:
                self.acknowledged.pop(int(number), None)  # the last one said is the last one here
                self.acknowledged[int(number)] = int(run)
            case ["retire", sequence]:
                self.retired = int(sequence)
            case ["key", packet_id]:
                self.keys.append((next(reversed(self.acknowledged)), int(packet_id)))
            case ["sent", name, *sent]:
                self.sent.setdefault(name, set()).update(map(int, sent))


def lives(
    directory: Path, log: Path, chance: random.Random, flags: Sequence[str], times: int
) -> Iterator[Call | None]:
    """The recording; None between two lives. times: how much longer they are than they need be."""
    command = [sys.executable, "-m", "tests.support.journalling", str(directory)]
    for run, commits in enumerate((70, 100, 60, 30), 1):
        extra = [
            "--run",
            str(run),
            "--commits",
            str(commits * times),
            "--seed",
            str(chance.randrange(10**9)),
        ]
        inject = ""
        if flags:
            extra += flags
        elif run == 1:
            extra += ["--die", str(chance.randint(20, 60))]
        elif run in (2, 3):
            fails = chance.randint(3, 40)
            inject = f"fdatasync:error=EIO:when={fails}"
            if run == 3:
                extra += chance.choice((["--die", str(fails + 1)], ["--die-refused"]))
        yield from record([*command, *extra], log, inject)
        yield None


async def complaints(directory: Path, facts: Facts, probe: bool) -> list[str]:
    """What is wrong with the journal in `directory`. probe: also go on with it."""
    settings = options(segment=journalling.SEGMENT, max_size=4 * journalling.SEGMENT)
    journal = Journal(directory, settings, stamp)
    began = time.monotonic()
    recovered = journal.open()
    took = time.monotonic() - began
    bus = Bus(journal, recovered)
    found: dict[int, Reading] = {}
    wrong = [f"opening took {took:.1f} s"] if took > 5 else []
    async for block in bus.blocks(0, follow=False):
        for place, reading in enumerate(block.readings):
            if block.first + place in found:
                wrong.append(f"sequence {block.first + place} comes twice")
            found[block.first + place] = reading
    wrong += _readings_wrong(found, facts)
    if bus.head <= max(found, default=0):
        wrong.append(f"the next reading would be {bus.head} once more")
    wrong += _cursors_wrong(recovered, found, facts)
    keys = bus.recovered_keys(journalling.SOURCE)
    known = {packet_id for entry in keys for packet_id in array("H", entry.packet_ids)}
    # A frame's key goes with its reading when that is retired.
    kept = {i for number, i in facts.keys[-KEYS:] if number + 1 >= facts.retired}
    if unknown := kept - known:
        wrong.append(f"{len(unknown)} acknowledged frames would not be recognised")
    subscriptions = [
        await bus.subscribe(name, patterns, "earliest", lanes)
        for name, patterns, lanes in (("quick", ("*",), 2), ("some", ("d[1-4]",), 1))
    ]
    if [text for each in subscriptions if (text := await _unexplained(bus, each))]:
        wrong += await _reconciled(bus, subscriptions, facts)
    if probe and not wrong:
        wrong += await _goes_on(directory, len(found))
    return wrong


async def _unexplained(bus: Bus, subscription: Subscription) -> str:
    """What the ledger of a subscription does not account for, if anything."""
    ahead = await bus.count(subscription, subscription.fetched, bus.head)
    ledger = subscription.ledger
    counted = ledger.matched - ledger.fetched
    return "" if ahead == counted else f"{subscription.name}: {ahead} lie ahead, {counted} counted"


async def _reconciled(bus: Bus, subscriptions: list[Subscription], facts: Facts) -> list[str]:
    """What stays unexplained once the bus runs: what was in flight when its segment was retired is
    found to be gone then, and counted as dropped."""
    wrong: list[str] = []
    async with running(bus):
        for _ in range(200):
            wrong = [text for each in subscriptions if (text := await _unexplained(bus, each))]
            if not wrong:
                break
            await asyncio.sleep(0.01)
    await asyncio.to_thread(bus.journal.stop)
    if not facts.retired and any(each.ledger.dropped for each in subscriptions):
        wrong.append("counted as dropped, and nothing was retired")
    return wrong


def _cursors_wrong(recovered: Recovered, found: dict[int, Reading], facts: Facts) -> Iterator[str]:
    for name, cursor in recovered.cursors.items():
        if max(cursor.lanes) > recovered.end:
            yield f"cursor {name} is at {cursor.lanes}, the data ends at {recovered.end}"
        wanted = device_filter(cursor.filter.split())
        unsent = []
        for sequence, reading in found.items():
            lane = zlib.crc32(reading.device.encode()) % len(cursor.lanes)
            passed = wanted(reading.device) and sequence < cursor.lanes[lane]
            if passed and sequence - 1 not in facts.sent.get(name, ()):
                unsent.append(sequence)
        # Counted as dropped before their segment is deleted, and the deletion was cut off.
        if len(unsent) > sum(cursor.dropped.values()):
            yield f"cursor {name} has passed {unsent}, which were neither sent nor dropped"


def _readings_wrong(found: dict[int, Reading], facts: Facts) -> Iterator[str]:
    for sequence, reading in found.items():
        number, run = int(reading.values["n"]), int(reading.values["run"])
        if number != sequence - 1 or run not in facts.published.get(number, ()):
            yield f"sequence {sequence} holds {number} of run {run}, which was never published"
        elif reading != journalling.reading(number, run):
            yield f"reading {number} is not as it was published"
    for number, run in facts.acknowledged.items():
        if number + 1 >= facts.retired:
            there = found.get(number + 1)
            if there is None:
                yield f"lost: {number} of run {run} was acknowledged"
            elif there.values["run"] != run:
                yield f"lost: {number} of run {run} was acknowledged, there is another run's"


async def _goes_on(directory: Path, before: int) -> list[str]:
    for length in (before + 3, before + 6):
        async with open_bus(directory, options(segment=journalling.SEGMENT)) as bus, running(bus):
            await publish(bus, numbered(length - 3, length))
            if len(await numbers(bus)) != length:
                return [f"{length - 3} were there and 3 came; found {len(await numbers(bus))}"]
    return []


def examine(
    seed: int, states: int, directory: Path, flags: Sequence[str] = (), *, reused: bool = False
) -> Counter[str]:
    """One recording and so many disks; what was wrong, and how often each thing was seen. reused:
    only disks of the moments when a segment's file becomes another one's."""
    chance = random.Random(seed)
    root = directory / f"{seed}"
    root.mkdir()
    recording = list(lives(root / "journal", root / "log", chance, flags, 1 + 2 * reused))
    facts = Facts()
    disk = Disk(root / "journal", facts.take)
    renamed = [n for n, call in enumerate(recording) if call is not None and _is_reuse(call)]
    near = [n for at in renamed for n in range(max(at - 8, 0), min(at + 16, len(recording)))]
    points = Counter(chance.choices(near if reused else range(len(recording)), k=states))
    seen: Counter[str] = Counter(reused=len(renamed))
    for number, call in enumerate(recording):
        if call is None:
            disk.restart()
        else:
            disk.take(call)
        for _ in range(points[number]):
            copy = root / "disk"
            seen["unsynced"] += disk.unsynced
            disk.cut(chance, copy)
            probe = chance.random() < 0.2
            for complaint in asyncio.run(complaints(copy, facts, probe)):
                seen["lost" if complaint.startswith("lost") else "wrong"] += 1
                seen[f"seed {seed}, call {number}: {complaint}"] += 1
            seen["states"] += 1
            shutil.rmtree(copy)
    seen["readings"] = len(facts.acknowledged)
    seen["retired"] = facts.retired
    return seen


def _is_reuse(call: Call) -> bool:
    return call.name == "rename" and call.texts[0].endswith(b".spare")


@needs_strace
@pytest.mark.timeout(3_000 if FULL else 900)
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance, states = seeded(), runs(200, 10_000)
    recordings = max(1, states // PER_RECORDING)
    began = time.monotonic()
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        jobs = [
            pool.submit(examine, chance.randrange(10**9), states // recordings, tmp_path)
            for _ in range(recordings)
        ]
        total = sum((job.result() for job in jobs), Counter[str]())
    complaints_ = [text for text in total if text.startswith("seed")]
    assert complaints_ == [], "\n".join(complaints_[:20])
    assert total["retired"] > 0
    assert total["reused"] > 0
    assert total["unsynced"] > total["states"] / 20
    outcome(
        "power-cut",
        disks=total["states"],
        disks_with_unsynced_writes=total["unsynced"],
        acknowledged=total["readings"],
        lost=total["lost"],
        seconds=round(time.monotonic() - began),
    )


@needs_strace
def test_without_fdatasync_the_same_power_cuts_lose_readings(tmp_path: Path) -> None:
    """That nothing is lost must be the journal's doing, not this test's blindness."""
    seen = examine(seeded().randrange(10**9), 60, tmp_path, ["--no-sync"])
    assert seen["lost"] > 0


@needs_strace
def test_a_power_cut_while_a_file_becomes_another_segment_brings_nothing_back(
    tmp_path: Path,
) -> None:
    seen = examine(seeded().randrange(10**9), runs(60, 1_000), tmp_path, reused=True)
    assert seen["reused"] >= 3
    assert [text for text in seen if text.startswith("seed")] == []
    outcome("power-cut-reused-segment", disks=seen["states"], reused=seen["reused"])


@needs_strace
def test_where_a_block_does_not_tell_its_segment_the_same_power_cuts_bring_readings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nothing comes back must be the checksum's doing."""
    monkeypatch.setattr(blocks, "zlib", journalling.UNSEEDED)
    seen = examine(seeded().randrange(10**9), 60, tmp_path, ["--no-seed"], reused=True)
    assert seen["wrong"] > 0
