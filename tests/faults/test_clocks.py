"""A machine that does not know what time it is, until it does; and one whose time jumps.

Each reading carries the true time as a value, so that its own time can be held against it.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import Machine
from tests.support.faults import outcome, runs, seeded
from tests.support.gateway import Gateway
from tests.support.influx import Influx1, influx_1
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.publisher import Publisher

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace of its own")

DAY = 86_400.0
YEAR_1970 = -1_795_000_000.0
JITTER = 3.0  # from a publisher to the gateway, on a busy machine (s); wrong times are days off


def told(number: int) -> bytes:
    return json.dumps({"seq": number, "at": time.time()}).encode()


class Place:
    """A machine with a gateway, between a broker and an InfluxDB that know the time."""

    def __init__(self, directory: Path, broker: Mosquitto, influx: Influx1) -> None:
        self.machine = Machine(directory / "machine")
        self.influx = influx
        self.count = 0
        self._broker = broker
        bridge = {
            "type": "influxdb", "version": "1", "url": influx.url, "database": "test",
            "batch": {"wait": "100ms"}, "start": "earliest",
        }  # fmt: skip
        self.house = self.machine.carry(Gateway(
            directory / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[
                {**bridge, "name": "holds"},
                {**bridge, "name": "marks", "unsynced": "send-marked",
                 "mapping": {"measurement": "marked-{device}"}},
            ],
            journal={"gather": "200ms", "max_age": "6h"},
            history={"retention": "6h"},
        ))  # fmt: skip

    def start(self) -> None:
        self.house.start()
        self.house.wait(lambda: self.house.api("status")["broker"]["connected"])

    def publish(self, count: int, rate: float = 400) -> None:
        """Publish and wait until it is committed."""
        publisher = Publisher(self._broker.port, 1, told, f"publisher-{self.count}")
        self.count = publisher.run(self.count, count, rate)
        publisher.close()
        self.house.wait(lambda: self.house.api("status")["journal"]["next"] > self.count)

    def delivered(self, bridge: str = "holds") -> None:
        def done() -> bool:
            ledger: dict[str, Any] = self.house.api("status")["ledger"]["bridges"][bridge]
            return bool(ledger["delivered"] == self.count and ledger["pending"] == 0)

        self.house.wait(done)

    def history(self, start: float, end: float) -> list[tuple[float, int]]:
        """(time in s, number) of what history has in a span (s)."""
        query = {"device": "d0", "metric": "seq", "start": int(start * 1e3), "end": int(end * 1e3)}
        points = self.house.api("query", **query)["points"]
        return [(ms / 1e3, int(value)) for ms, value in points]

    def errors(self) -> dict[int, float]:
        """How far off (s) each number's time is at InfluxDB."""
        return {
            int(seq): ns / 1e9 - at
            for series in self.influx.query('SELECT "seq", "at" FROM "d0"')
            for ns, seq, at in series["values"]
        }

    def history_errors(self) -> dict[int, float]:
        """The same in history."""
        span = {"device": "d0", "start": 0, "end": int((time.time() + 9 * DAY) * 1e3)}
        seq = self.house.api("query", metric="seq", **span)["points"]
        at = self.house.api("query", metric="at", **span)["points"]
        assert [ms for ms, _ in seq] == [ms for ms, _ in at]
        return {int(s): ms / 1e3 - a for (ms, s), (_, a) in zip(seq, at, strict=True)}

    def set(self) -> None:
        """NTP sets the clock."""
        self.machine.wall(0)
        self.machine.synchronised()
        self.house.wait(lambda: self.house.api("status")["clock"]["synced"])


@contextmanager
def place(directory: Path) -> Iterator[Place]:
    with mosquitto(directory / "broker") as broker, influx_1(directory / "influx") as influx:
        found = Place(directory, broker, influx)
        try:
            yield found
        finally:
            process = found.house.process
            if process is not None and process.poll() is None:
                found.house.stop()


def right(found: dict[int, float], numbers: range, shift: float = 0.0) -> float:
    """All there, all right; the largest error (s)."""
    assert set(numbers) <= set(found), f"{len(set(numbers) - set(found))} are missing"
    worst = max(abs(found[number] - shift) for number in numbers)
    assert worst < JITTER, f"off by {worst:.1f} s"
    return worst


def test_boot_in_1970_or_at_a_saved_time_makes_no_wrong_times(tmp_path: Path) -> None:
    chance = seeded()
    wrong = YEAR_1970 if chance.random() < 0.5 else -chance.uniform(600, 5 * DAY)
    with place(tmp_path) as here:
        here.machine.wall(wrong)
        here.start()
        assert here.house.api("status")["clock"]["synced"] is False
        here.publish(runs(1_300, 13_000))  # more than a chunk of history
        if chance.random() < 0.5:
            here.house.kill()
            here.start()
        here.publish(100)
        here.delivered("marks")
        assert here.errors() == {}, "a bridge that holds has sent"
        marked = here.influx.query('SELECT count("seq") FROM "marked-d0" WHERE clock=\'unsynced\'')
        assert marked[0]["values"][0][1] == here.count
        before = here.count
        here.set()
        if chance.random() < 0.5:
            here.house.kill()
            here.start()
        here.publish(200)
        here.delivered()
        assert here.house.api("status")["uptime"] < 600, "it seems to run since 1970"
        sent = right(here.errors(), range(here.count))
        kept = right(here.history_errors(), range(here.count))
        here.house.stop()
        here.start()
        again = right(here.history_errors(), range(here.count))
        series = here.influx.query('SELECT count("seq") FROM "d0"')[0]["values"][0][1]
        assert series == here.count
        assert set(here.house.differences().values()) == {0}
        outcome(
            "clock-set-late", wrong_by_s=round(-wrong), readings_before=before,
            worst_s_influxdb=sent, worst_s_history=max(kept, again),
        )  # fmt: skip


def test_jumps_of_a_day_neither_reorder_nor_expire_nor_silence(tmp_path: Path) -> None:
    with place(tmp_path) as here:
        here.machine.synchronised()
        here.start()
        expected: list[tuple[range, float]] = []
        for shift in [0.0, DAY, 0.0, -DAY, 0.0]:
            here.machine.wall(shift)
            first = here.count
            here.publish(200)
            expected.append((range(first, here.count), shift))
            last = here.house.api("devices/d0")["last"]["values"]["seq"]
            assert last == here.count - 1, "an old value passes for the last one"
        here.delivered()
        sent, kept = here.errors(), here.history_errors()
        worst = max(
            max(right(found, numbers, shift) for found in (sent, kept))
            for numbers, shift in expected
        )
        status = here.house.api("status")
        assert status["journal"]["first"] == 1, "the journal has let young blocks go"
        assert status["devices"]["levels"].keys() <= {"EXCELLENT", "GOOD"}
        assert set(here.house.differences().values()) == {0}
        outcome("clock-jumps", jumps=4, readings=here.count, worst_s=worst)


def test_boot_that_never_knew_the_time_lies_between_its_neighbours(tmp_path: Path) -> None:
    with place(tmp_path) as here:
        here.machine.synchronised()
        here.start()
        here.publish(200)
        here.delivered()
        first, ended = here.count, time.time()
        here.house.kill()
        here.machine.boot()
        here.machine.wall(YEAR_1970)
        here.start()
        here.publish(300)
        second = here.count
        here.house.kill()
        here.machine.boot()
        here.start()
        assert here.house.api("status")["clock"]["synced"] is False
        here.publish(50)
        began = time.time()
        here.set()
        here.publish(100)
        here.delivered()
        sent, kept = here.errors(), here.history_errors()
        for found in (sent, kept):
            right(found, range(first))
            right(found, range(second, here.count))
        rows = here.influx.query('SELECT "seq", "clock" FROM "d0"')[0]["values"]
        guessed = [(ns / 1e9, int(seq)) for ns, seq, mark in rows if mark == "unsynced"]
        assert [seq for _, seq in guessed] == list(range(first, second)), "marked, and in order"
        assert ended - JITTER < guessed[0][0]
        assert guessed[-1][0] < began
        assert set(here.house.differences().values()) == {0}
        outcome(
            "boot-never-synchronised", readings=second - first,
            worst_s=max(abs(sent[n]) for n in range(first, second)),
            between_s=round(began - ended, 1),
        )  # fmt: skip


def test_lost_or_damaged_table_of_boots_stops_nothing(tmp_path: Path) -> None:
    chance = seeded()
    with place(tmp_path) as here:
        table = here.house.directory / "data" / "clock.json"
        here.machine.wall(YEAR_1970)
        here.start()
        here.publish(100)
        here.set()
        here.house.wait(table.exists)
        here.house.kill()
        kinds: list[bytes | None] = [
            b"", b"\0" * 100, b'[{"id":3}]', b'[{"id":"x","first":1e400}]', None,
        ]  # fmt: skip
        for damage in chance.sample(kinds, runs(2, 5)):
            table.unlink(missing_ok=True)
            if damage is None:
                table.mkdir()
            else:
                table.write_bytes(damage)
            here.start()
            here.publish(20)
            if damage != b"" or chance.random() < 0.5:
                here.house.kill()
            else:
                here.house.stop()
            if table.is_dir():
                table.rmdir()
        here.start()
        here.delivered()
        worst = right(here.errors(), range(here.count))
        right(here.history_errors(), range(here.count))
        outcome("boot-table-lost", kinds=runs(2, 5), readings=here.count, worst_s=worst)
