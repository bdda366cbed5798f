"""From what the gateway answers to what is shown: rates are differences between two answers."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from gateway.io import raspberry

_WINDOW = 5.0  # rates are over so long: commits and batches come about once a second (s)
_LONG = 60.0  # what is written to disks comes in bursts: over so long (s)
_SHORTEST = 0.15  # over less than this a rate says nothing (s)
_DAY = 86_400

Answer = dict[str, Any]


class Figures:
    """Keeps the answers of the last few seconds, and makes one document of them.

    root: where the file system begins; another one in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._answers: deque[Answer] = deque()
        self._written: deque[tuple[float, int]] = deque()  # when (s), and how many bytes by then
        psutil.cpu_percent()  # the first look has nothing to compare with

    def forget(self) -> None:
        """The gateway was away: what it counted before says nothing of what comes."""
        self._answers.clear()
        self._written.clear()

    def take(self, answer: Answer) -> Answer:
        """The document for a new answer. A rate is null until there are two answers."""
        if self._answers and answer["uptime"] < self._answers[-1]["uptime"]:
            self.forget()
        self._answers.append(answer)
        while len(self._answers) > 2 and answer["at"] - self._answers[1]["at"] >= _WINDOW:
            self._answers.popleft()
        before = self._answers[0]
        span = answer["at"] - before["at"]
        rate = _Rate(span)
        journal, process = answer["journal"], answer["process"]
        written = rate(journal["appended"], before["journal"]["appended"])
        cpu = rate(process["cpu"], before["process"]["cpu"])
        bridges = _bridges(answer, before, rate)
        disk = self._disk(answer["at"], process["written"])
        return {
            "time": answer["time"],
            "reachable": True,
            **{key: answer[key] for key in ("id", "version", "uptime", "ready", "reasons")},
            "health": answer["health"],
            "in": rate(_received(answer), _received(before)),
            "stages": answer["stages"],
            "bottleneck": answer["bottleneck"],
            "why": answer.get("why", ""),  # of a gateway older than this there is none
            "limits": answer.get("limits", []),
            "sources": answer["sources"],
            "bridges": bridges,
            "journal": {
                **journal,
                "written": written,
                "per_day": _per_day(written),
            },
            "disk": {"written": disk, "per_day": _per_day(disk)},
            "differences": differences(answer),
            "dropped": dropped(answer),
            "dead_letters": sum(_dead(answer)),
            "process": {
                "pid": process["pid"],
                "cpu_percent": None if cpu is None else 100 * cpu,
                "rss": process["rss"],
            },
            "machine": self._machine(),
            "devices": answer["devices"],
        }

    def _disk(self, at: float, written: int | None) -> float | None:
        """Bytes a second that the gateway causes to be written to disks, over the last minute;
        None where the kernel does not tell."""
        if written is None:
            return None
        self._written.append((at, written))
        while len(self._written) > 2 and at - self._written[1][0] >= _LONG:
            self._written.popleft()
        since, before = self._written[0]
        return _Rate(at - since)(written, before)

    def _machine(self) -> Answer:
        """This machine, which is the gateway's: the socket is not reached from another one."""
        degrees = [celsius for _, celsius in raspberry.temperatures(self._root)]
        return {
            "cpu_percent": psutil.cpu_percent(),
            "memory_percent": psutil.virtual_memory().percent,
            "temperature": max(degrees, default=None),
        }


class _Rate:
    """The growth of a counter, per second."""

    def __init__(self, span: float) -> None:
        self._span = span

    def __call__(self, now: float, before: float) -> float | None:
        if self._span < _SHORTEST or now < before:
            return None
        return float((now - before) / self._span)


def _per_day(rate: float | None) -> float | None:
    return None if rate is None else rate * _DAY


def unreachable(since: float, why: str) -> Answer:
    """The document while there is no answer; no figure in it, for none is known."""
    now = time.time()
    return {"time": int(now * 1000), "reachable": False, "since": int(since * 1000), "why": why}


def _received(answer: Answer) -> int:
    return sum(source["received"] for source in answer["sources"])


def _bridges(answer: Answer, before: Answer, rate: _Rate) -> list[Answer]:
    earlier = {bridge["name"]: bridge.get("delivered", 0) for bridge in before["bridges"]}
    return [
        {**bridge, "rate": rate(bridge.get("delivered", 0), earlier.get(bridge["name"], 0))}
        for bridge in answer["bridges"]
    ]


def differences(answer: Answer) -> dict[str, int]:
    """What the ledger cannot explain, by source and bridge; only what is not 0."""
    both: list[Mapping[str, Any]] = [*answer["sources"], *answer["bridges"]]
    return {each["name"]: each["difference"] for each in both if each.get("difference")}


def dropped(answer: Answer) -> dict[str, int]:
    """What was dropped since the start, by reason."""
    counts = Counter[str]()
    for each in (*answer["sources"], *answer["bridges"]):
        counts.update(each.get("dropped", {}))
    counts["broker"] += answer["broker"]["dropped"] or 0
    counts["dead letters"] += answer["dead_letters_dropped"]
    return {reason: count for reason, count in counts.most_common() if count}


def _dead(answer: Answer) -> list[int]:
    both = (*answer["sources"], *answer["bridges"])
    return [each.get("dead_lettered", 0) for each in both]
