"""A small house with two devices and a bridge: data for the faces to show."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from gateway.core.contracts import Flag, Reading, Value
from gateway.core.errors import Conflict
from gateway.core.ledger import BridgeLedger, SourceLedger
from gateway.runtime.commanding import Commanding
from gateway.runtime.managing import Managing
from gateway.runtime.twinning import Twinning
from gateway.store.exporting import Export, Selection
from gateway.store.history import History
from gateway.web import control, server
from tests.support.small_alerting import SmallAlerting

STARTED = 1_795_212_000_000


def _endpoint(name: str, state: str, breaker: str) -> dict[str, Any]:
    failed = state == "FAILED"
    return {
        "name": name,
        "state": state,
        "breaker": breaker,
        "idle": 0 if failed else 1,
        "busy": 0 if failed else 2,
        "latency": 0.0125,
        "failed": 7 if failed else 0,
        "ejected": int(failed),
        "last_error": "connection refused" if failed else None,
    }


class SmallHouse:
    """Satisfies gateway.web.house.House; everything can be changed by the test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lan = None
        self.alerting: SmallAlerting | None = SmallAlerting()
        self.commanding: Commanding | None = None  # see small_managing
        self.managing: Managing | None = None
        self.twinning: Twinning | None = None
        self.directory: tempfile.TemporaryDirectory[str] | None = None
        commits = Histogram("berrygate_journal_commit_seconds", "x", registry=self.registry)
        stages = Histogram("berrygate_stage_seconds", "x", ["stage"], registry=self.registry)
        commits.observe(0.01)
        stages.labels("decode").observe(0.001)
        self.waiting: list[str] = []
        self.level = "GOOD"
        self.source = SourceLedger(received=10, journalled=7, repeated=1, dead_lettered=1)
        self.source.dropped["rate"] = 1
        self.bridge = BridgeLedger(matched=8, delivered=5)
        self.pending = 3
        self.thrown = 0
        self.asked: list[tuple[Any, ...]] = []
        self.points: list[tuple[int, Any]] = [(STARTED, 21.5), (STARTED + 1000, float("nan"))]
        self.tails = 0
        self.looked = 0
        self.broken = False
        self.limits: list[dict[str, Any]] = []
        self.paused = False
        self.replay_: dict[str, Any] | None = None
        self.tried: list[tuple[Any, ...]] = []
        self.devices_: dict[str, dict[str, Value]] = {
            "soil-4": {"moisture": 31.0, "open": False},
            "pump-2": {"state": "<b>on</b>"},
        }

    def ready(self) -> tuple[bool, list[str]]:
        return not self.waiting, self.waiting

    def ledger(self) -> dict[str, Any]:
        return {
            "sources": {"mqtt": self.source.as_dict()},
            "bridges": {"home": self.bridge.as_dict(self.pending)},
            "broker": {"dropped": self.thrown},
        }

    def status(self) -> dict[str, Any]:
        return {
            "id": "greenhouse-pi",
            "version": "0.1.0",
            "state": "online",
            "since": STARTED,
            "uptime": 3725.5,
            "ready": not self.waiting,
            "reasons": self.waiting,
            "clock": {"synced": True},
            "health": self.health(),
            "journal": {"bytes": 4096, "first": 0, "next": 10, "segments": 1},
            "ledger": self.ledger(),
            "devices": {"count": len(self.devices_)},
            "bridges": self.bridges(),
            "broker": {"state": "running"},
            "alerts": self.alerting.summary() if self.alerting else None,
            "limits": {
                "devices": {"used": 2, "limit": 10_000, "refused": 0},
                "rate": {"used": None, "limit": 1_000, "refused": self.source.dropped["rate"]},
            },
        }

    def devices(self) -> list[dict[str, Any]]:
        return [self.device(name) for name in self.devices_]

    def device(self, device: str) -> dict[str, Any]:
        if device not in self.devices_:
            raise LookupError(f'no device "{device}"')
        return {
            "id": device,
            "original": device.upper(),
            "source": "mqtt",
            "last_seen": STARTED,
            "last": {"time": STARTED, "values": self.devices_[device]},
            "health": {"level": "GOOD", "score": 80},
        }

    def driver(self, source: str) -> object:
        raise LookupError(f'no source "{source}"')

    def bridges(self) -> list[dict[str, Any]]:
        return [
            {
                "name": "home",
                "type": "influxdb",
                "state": "paused" if self.paused else "running",
                "replay": self.replay_,
                "breaker": "half_open",
                "oldest": 2.5,
                "last_error": None,
                "failed": {"unavailable": 4},
                "pool": {
                    "idle": 1,
                    "busy": 2,
                    "waiting": 3,
                    "max": 4,
                    "opened": 9,
                    "closed": {"age": 5, "failed": 1},
                    "timeouts": 6,
                    "endpoints": [
                        _endpoint("http://one:8086", "HEALTHY", "closed"),
                        _endpoint("http://two:8086", "FAILED", "open"),
                    ],
                },
                "troubles": {
                    "hour": {"unavailable": 3},
                    "day": {"unavailable": 4},
                    "outages": 3,
                    "unaided": 2,
                    "down": 75.0,
                    "recovery": 25.0,
                    "longest": 61.0,
                    "since": None,
                },
                **self.ledger()["bridges"]["home"],
                "ledger": self.ledger()["bridges"]["home"],
            }
        ]

    def health(self) -> dict[str, Any]:
        return {
            "time": STARTED,
            "level": self.level,
            "score": 84,
            "reasons": [
                {
                    "component": "bridge/home",
                    "metric": "lag",
                    "value": 90,
                    "limit": 60,
                    "cost": 16,
                    "text": "oldest reading waits 90 s",
                    "doing": "it sends what waits",
                }
            ],
            "components": {
                "bridge/home": {"level": "GOOD", "score": 84},
                "stage/journal": {"level": "UNKNOWN", "score": 0},
            },
            "devices": {"GOOD": 2},
        }

    async def health_history(
        self, part: str, start: int, end: int, points: int | None = None
    ) -> list[Any]:
        if part not in ("gateway/gateway", "bridge/home", "device/soil-4"):
            raise LookupError(f'no part "{part}"')
        if points is not None:
            return [[start // 1_000_000 + n, None, "UNKNOWN", ""] for n in range(points)]
        return [[STARTED, 84, "GOOD", "oldest reading waits 90 s"]]

    def performance(self, window: str = "1m") -> dict[str, Any]:
        stage = {
            "records": 60, "rate": 1.0, "p50": 0.1, "p95": 0.2, "p99": 0.3, "p999": 0.4, "max": 0.5,
            "share": 1.0, "utilisation": 0.1, "queue": 3, "level": "GOOD", "trend": "steady",
        }  # fmt: skip
        text = "waits for the disk nearly all the time"
        limit = {"stage": "journal", "cause": "disk", "text": text, "since": STARTED}
        loop = {
            "lag_p50": 0.001, "lag_p99": 0.01, "lag_max": 0.02, "slow_callbacks": 2,
            "slow_seconds": 0.5, "slow_recently": 1, "longest": 0.3, "culprits": {"read": 2},
        }  # fmt: skip
        return {
            "window": window,
            "stages": {"decode": stage},
            "bottleneck": "journal",
            "why": text,
            "limits": [limit],
            "loop": loop,
        }

    def overview(self, sort: str, text: str, limit: int, offset: int) -> dict[str, Any]:
        self.looked += 1
        if self.broken:
            return {}
        rows = [
            {
                "id": name,
                "source": "mqtt",
                "level": "GOOD",
                "score": 80,
                "why": "no message for 61 s (limit 60 s)",
                "rate": 1.5,
                "silent": 3.0,
                "interval": 0.7,
                "readings": 12,
                "refused": 0,
            }
            for name in self.devices_
            if text in name
        ]
        stage = {"rate": 10.0, "p50": 0.001, "p95": 0.002, "p99": 0.003, "share": 1.0}
        return {
            "time": STARTED + 1000 * self.looked,
            "at": float(self.looked),
            "id": "greenhouse-pi",
            "version": "0.1.0",
            "uptime": 3725.5 + self.looked,
            "ready": not self.waiting,
            "reasons": self.waiting,
            "health": {**self.health(), "level": self.level},
            "stages": {"decode": stage},
            "bottleneck": "decode",
            "why": "takes 100% of the time; nothing limits",
            "limits": self.limits,
            "sources": [{"name": "mqtt", "state": "running", **self.source.as_dict()}],
            "bridges": self.bridges(),
            "broker": {"dropped": self.thrown},
            "dead_letters_dropped": 0,
            "journal": {
                "appended": 1000 * self.looked,
                "bytes": 4096,
                "quota": 10**9,
                "backlog": 0,
                "trouble": None,
            },
            "process": {"pid": 1, "cpu": 0.1 * self.looked, "rss": 80_000_000, "written": None},
            "devices": {
                "count": len(self.devices_),
                "matching": len(rows),
                "levels": {"GOOD": len(self.devices_)},
                "rows": rows[offset : offset + limit],
            },
        }

    async def series(self, device: str | None = None) -> list[dict[str, Any]]:
        found = [self.device(device)["id"]] if device else list(self.devices_)
        return [{"device": d, "metric": m} for d in found for m in self.devices_[d]]

    async def query(
        self,
        device: str,
        metric: str,
        start: int,
        end: int,
        points: int | None = None,
        aggregate: str | None = None,
    ) -> list[tuple[int, Any]]:
        self.asked.append((device, metric, start, end, points, aggregate))
        if metric not in self.devices_.get(device, {}):
            raise LookupError(f'no metric "{metric}" of device "{device}"')
        return self.points

    @contextmanager
    def exporting(self, chosen: Selection) -> Iterator[Export]:
        yield Export(self.history, chosen)

    @cached_property
    def history(self) -> History:
        self._directory = tempfile.TemporaryDirectory()
        history = History(Path(self._directory.name), 1e9)
        values = self.devices_.items()
        history.add(1, [Reading(name, STARTED * 1_000_000, dict(v)) for name, v in values])
        return history

    def _bridge(self, bridge: str) -> dict[str, Any]:
        if bridge != "home":
            raise LookupError(f'no bridge "{bridge}"')
        return self.bridges()[0]

    async def pause(self, bridge: str) -> dict[str, Any]:
        self._bridge(bridge)
        self.paused = True
        return self._bridge(bridge)

    async def resume(self, bridge: str) -> dict[str, Any]:
        self._bridge(bridge)
        self.paused = False
        return self._bridge(bridge)

    async def replay(self, bridge: str, start: int, end: int, devices: str) -> dict[str, Any]:
        self._bridge(bridge)
        if start >= end:
            raise ValueError("start is not before end")
        if self.replay_ is not None and self.replay_["state"] == "running":
            raise Conflict("bridge home is replaying already", fix="wait for it")
        self.replay_ = {
            "state": "running",
            "start": start // 1_000_000,
            "end": end // 1_000_000,
            "devices": devices,
            "journal_from": STARTED,
            "progress": 0.5,
            "sent": 1200,
            "refused": 1,
        }
        return self.replay_

    async def stop_replay(self, bridge: str) -> dict[str, Any]:
        self._bridge(bridge)
        if self.replay_ is None:
            raise Conflict("bridge home is not replaying")
        self.replay_ |= {"state": "stopped"}
        return self.replay_

    def errors(self, bridge: str) -> dict[str, Any]:
        self._bridge(bridge)
        errors = {"unavailable": 4, "denied": 1}
        outage = {"began": STARTED, "seconds": 12.34, "unaided": True}
        return {
            "minutes": [{"time": STARTED, "errors": errors}],
            "outages": [outage],
            "now": outage | {"seconds": 75.0},
        }

    async def letters(self, name: str | None, limit: int, before: int) -> dict[str, Any]:
        if name not in (None, "home", "mqtt"):
            raise LookupError(f'no bridge and no source "{name}"')
        letter = {"stage": "deliver", "name": "home", "reason": "rejected", "device": "soil-4"}
        group = {
            **letter, "count": 3, "refused": 4, "first": STARTED, "last": STARTED + 1000,
            "detail": "bad",
        }  # fmt: skip
        one = {
            **letter, "id": 7, "detail": "field type conflict", "topic": "", "payload": "",
            "size": 0, "time": STARTED, "last": STARTED + 1000, "count": 2,
            "reading": {"time": STARTED, "values": {"n": "\x1b[2J"}},
        }  # fmt: skip
        return {"groups": [group], "letters": [one][:limit]}

    async def retry(self, name: str, ids: Sequence[int], after: int) -> dict[str, Any]:
        self._bridge(name)
        self.tried.append((tuple(ids), after))
        kept = [{"id": 8, "reason": "still bad"}] if 8 in ids else []
        following = 500 if not ids and after == 0 else None
        return {"taken": len(ids) or 3, "kept": kept, "next": following}

    async def tail(self, pattern: str = "*") -> AsyncIterator[list[Reading]]:
        self.tails += 1
        try:
            number = 0
            while True:
                flags = Flag.UNSYNCED if number == 0 else 0
                both = [
                    Reading(name, (STARTED + number) * 1_000_000, dict(values), int(flags))
                    for name, values in self.devices_.items()
                    if fnmatchcase(name, pattern)
                ]
                yield both
                number += 1
                await asyncio.sleep(0.02)
        finally:
            self.tails -= 1


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter. Not pytest's own: each run of it closes its root."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@contextmanager
def standing(house: SmallHouse, directory: Path) -> Iterator[str]:
    """`house` with its faces on a loop in a thread of its own; gives the server's URL. The
    control socket is in `directory`."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        found["loop"], found["stop"] = asyncio.get_running_loop(), asyncio.Event()
        async with (
            server.serving(house, "127.0.0.1", 0) as (port, _),
            control.serving(house, [directory / "control.sock"]),
        ):
            found["port"] = port
            started.set()
            await found["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(20), "the faces did not start"
    try:
        yield f"http://127.0.0.1:{found['port']}"
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(20)
