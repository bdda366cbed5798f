"""What is measured while messages flow."""

import json
import math
import subprocess
import time
import urllib.request
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.bench import processes
from gateway.bench.disk import Disk, settle
from gateway.bench.figures import Report, percentiles
from gateway.bench.processes import cpu, program
from gateway.bench.subject import Subject, wait
from gateway.core.errors import BerrygateError

_MOST = 200_000  # messages of a saturated phase; all of them fit the broker's queue
_PATIENCE = 30.0  # longest that the paced phase's last messages may take (s)
_BEHIND = 1.2  # times as long as planned: the rate was not reached
_WARM = 1_000  # messages before anything is measured
_REST = 2.0  # after them: what a start leaves for later is done by then (s)
_DAY = 86_400
_UNKNOWN = "the kernel does not tell it here"


@dataclass(slots=True)
class Load:
    """What messages flow through, and how many have so far."""

    house: Subject
    directory: Path
    disk: Disk
    sink: str | None
    devices: int
    sent: "array[float]" = field(default_factory=lambda: array("d"))

    def publish(self, root: str, rate: float, seconds: float, most: int) -> dict[str, Any]:
        """Publish from a process of its own; what it says. Raises BerrygateError."""
        ours = root == "devices"
        times = self.directory / "times"
        arguments = [
            str(self.house.broker), "--root", root, "--first", str(len(self.sent) if ours else 0),
            "--seconds", str(seconds), "--rate", str(rate), "--devices", str(self.devices),
            "--most", str(most), "--times", str(times),
        ]  # fmt: skip
        with program("gateway.bench.publisher", *arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None, "it is piped"
            line = process.stdout.readline()
            process.wait()
        if not line:
            raise BerrygateError("the publisher of the benchmark has failed")
        if ours:
            self.sent.frombytes(times.read_bytes())
        found: dict[str, Any] = json.loads(line)
        return found

    def arrivals(self) -> "array[float]":
        """When each message reached the sink; NaN where it did not."""
        found = array("d")
        if self.sink is not None:
            with urllib.request.urlopen(f"{self.sink}/times", timeout=60) as answer:
                found.frombytes(answer.read())
        found = found[: len(self.sent)]
        found.extend([math.nan] * (len(self.sent) - len(found)))
        return found

    def lines(self) -> int:
        """How many lines the sink has, the repeated ones too."""
        with urllib.request.urlopen(f"{self.sink}/lines", timeout=60) as answer:
            return int(answer.read())


class Phase:
    """Each method is one phase, and adds what it found to the report."""

    def __init__(self, load: Load, report: Report) -> None:
        self._load = load
        self._report = report
        self._acknowledged = 0
        self._ours: dict[str, float] = {}

    def warm(self) -> None:
        """Every device is met once: what that costs is no message's. Then all comes to rest."""
        count = max(self._load.devices, _WARM)
        said = self._load.publish("devices", 0, _PATIENCE, count)
        self._acknowledged += said["acknowledged"]
        self._load.house.through(self._acknowledged, _PATIENCE)
        time.sleep(_REST)

    def idle(self, seconds: float) -> None:
        """Nothing is published."""
        before = cpu(self._load.house.pid)
        began = time.monotonic()
        time.sleep(seconds)
        share = 100 * (cpu(self._load.house.pid) - before) / (time.monotonic() - began)
        self._report.add("cpu_idle", "CPU, idle", share, "%", "of one core while no message comes")

    def paced(self, rate: int, seconds: float) -> None:
        """At a steady rate: what a message costs, how long it takes, what it writes."""
        load, house = self._load, self._load.house
        broker = house.broker_pid
        settle(load.directory)
        first, before = len(load.sent), _Marks.now(load, broker)
        said = load.publish("devices", rate, seconds, int(rate * seconds))
        published = time.monotonic()
        self._acknowledged += said["acknowledged"]
        through = house.through(self._acknowledged, _PATIENCE)
        settle(load.directory)
        after, count = _Marks.now(load, broker), said["acknowledged"]
        if not through:
            self._report.notes.append(
                f"not all of the paced messages came through in {_PATIENCE:g} s"
            )
        if said["seconds"] > _BEHIND * seconds:
            reached = count / said["seconds"]
            self._report.notes.append(f"{rate:,} messages/s were not reached: {reached:,.0f}")
        self._cost("cpu_paced", "CPU a message, paced", after.cpu - before.cpu, count)
        self._add_broker((after.broker - before.broker) / count * 1e6 if broker else None)
        self._latency(first)
        self._writes(before, after, count, published - before.time)

    def saturated(self, seconds: float, patience: float) -> None:
        """As fast as it goes, until the last message is where it belongs."""
        load, house = self._load, self._load.house
        first = len(load.sent)
        before = cpu(house.pid)
        said = load.publish("devices", 0, seconds, _MOST)
        self._acknowledged += said["acknowledged"]
        through = house.through(self._acknowledged, patience)
        ended, spent, count = time.monotonic(), cpu(house.pid) - before, said["acknowledged"]
        if not through:
            note = f"not all of the saturated messages came through in {patience:g} s"
            self._report.notes.append(note)
        self._cost("cpu_saturated", "CPU a message, saturated", spent, count)
        arrived = [moment for moment in load.arrivals()[first:] if not math.isnan(moment)]
        last = max(arrived, default=math.nan) if load.sink is not None else ended
        where = "the sink" if load.sink is not None else "journal and history"
        speed = count / (last - load.sent[first])
        self._report.add(
            "throughput", "messages/s", None if math.isnan(speed) or not through else speed,
            "/s", f"saturated, from the first publish to the last one in {where}",
            "" if through else "not all came through in time",
        )  # fmt: skip

    def count(self) -> None:
        """How many each place has, and what is missing there."""
        load = self._load
        status = load.house.ask("status")
        source = status["ledger"]["sources"]["mqtt"]
        history = sum(
            series["count"]
            for series in load.house.ask("series")
            if series["metric"] == "seq" and series["device"].startswith("bench-")
        )
        counts = {
            "publisher": self._acknowledged,
            "journal": source["journalled"],
            "history": history,
        }
        if load.sink is not None:
            counts["sink"] = sum(not math.isnan(moment) for moment in load.arrivals())
            if more := load.lines() - counts["sink"]:
                self._report.notes.append(f"{more:,} readings reached the sink more than once")
        self._report.counts = counts
        lost = {place: self._acknowledged - number for place, number in counts.items()}
        self._report.lost = {place: number for place, number in lost.items() if number}
        most = max(self._report.lost.values(), default=0)
        self._report.add(
            "lost", "lost", float(most), "",
            "acknowledged to the publisher, but missing at some place; see below",
        )  # fmt: skip
        if any(each["difference"] for each in status["ledger"]["sources"].values()):
            self._report.notes.append("the ledger has a difference: please report it")

    def paho(self, rate: int, seconds: float) -> None:
        """A plain paho client on the same broker, on topics that the gateway does not have."""
        with program(
            "gateway.bench.receiver", str(self._load.house.broker), "bench",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None, "it is piped"
            if process.stdout.readline() != b"ready\n":
                raise BerrygateError("the plain receiver of the benchmark did not start")
            before = cpu(process.pid)
            most = int(rate * seconds) if rate else _MOST
            count = self._load.publish("bench", rate, seconds, most)["acknowledged"]
            complete = wait(lambda: _received(process) >= count, _PATIENCE)
            spent = cpu(process.pid) - before
        if not complete:
            self._report.notes.append("the plain paho client did not receive all in time")
        kind = "paced" if rate else "saturated"
        self._cost(f"paho_{kind}", f"plain paho, {kind}", spent, count)
        ours, theirs = self._ours[f"cpu_{kind}"], self._ours[f"paho_{kind}"]
        self._report.add(
            f"ratio_{kind}", f"Berrygate / paho, {kind}", ours / theirs if theirs else None,
            "", "paho only receives; Berrygate also decodes, stores and delivers",
        )  # fmt: skip

    # -- figures ----------------------------------------------------------------------------

    def _cost(self, key: str, title: str, spent: float, count: int) -> None:
        value = spent / max(count, 1) * 1e6
        self._ours[key] = value
        meaning = {
            "cpu_paced": "all threads of the gateway, what it spends idle included",
            "cpu_saturated": "the same; many messages share what a batch costs",
            "paho_paced": "such messages received and acknowledged by paho-mqtt alone",
            "paho_saturated": "the same, as fast as it goes",
        }[key]
        self._report.add(key, title, value, "µs", meaning)

    def _add_broker(self, value: float | None) -> None:
        meaning = "of its mosquitto, which hands each message on"
        missing = "" if value is not None else "the broker's process is not known"
        self._report.add("cpu_broker", "CPU a message, broker", value, "µs", meaning, missing)

    def _latency(self, first: int) -> None:
        load = self._load
        took = [
            1000 * (arrived - sent)
            for sent, arrived in zip(load.sent[first:], load.arrivals()[first:], strict=True)
            if not math.isnan(arrived)
        ]
        missing = "" if took else "there is no sink"
        meanings = (
            "publish to sink; journal.gather and batch.wait (1 s each) are in it",
            "one in twenty takes longer",
            "one in a hundred takes longer",
        )
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        found = percentiles(took, *shares.values())
        for name, value, meaning in zip(shares, found, meanings, strict=True):
            self._report.add(f"latency_{name}", f"latency {name}", value, "ms", meaning, missing)

    def _writes(self, before: "_Marks", after: "_Marks", count: int, seconds: float) -> None:
        disk = self._load.disk
        own = _growth(before.written, after.written) if disk.device else None
        whole = _growth(before.device, after.device)
        why = "" if own is not None else disk.why or _UNKNOWN
        self._report.add(
            "written", "written a message", None if own is None else own / count, "B",
            "by the gateway: journal, history, state (/proc/<pid>/io)", why,
        )  # fmt: skip
        self._report.add(
            "written_per_day", "written a day",
            None if own is None else own / seconds * _DAY / 1e6, "MB",
            "by the gateway, if messages come at this rate all day", why,
        )  # fmt: skip
        self._report.add(
            "written_device", "written a message, disk",
            None if whole is None else whole / count, "B",
            f"all that {disk.source} was given, by every program of the machine",
            "" if whole is not None else disk.why or _UNKNOWN,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Marks:
    """Counters at one moment."""

    time: float
    cpu: float
    broker: float
    written: int | None
    device: int | None

    @classmethod
    def now(cls, load: Load, broker: int) -> "_Marks":
        """Read all of them."""
        pid = load.house.pid
        return cls(
            time.monotonic(),
            cpu(pid),
            cpu(broker) if broker else 0.0,
            processes.written(pid),
            load.disk.written(),
        )


def _received(process: "subprocess.Popen[bytes]") -> int:
    """How many messages the plain receiver has had."""
    assert process.stdin is not None, "it is piped"
    assert process.stdout is not None, "it is piped"
    process.stdin.write(b"\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def _growth(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
