"""What rules can look at besides readings and health: figures of each part, and of the machine."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from gateway.broker.certificates import ends_at
from gateway.core.figures import Figure
from gateway.core.words import about
from gateway.io.raspberry import temperatures, throttled
from gateway.runtime import bottlenecks
from gateway.runtime.delivery import Delivery
from gateway.runtime.house import House
from gateway.runtime.intake import Intake
from gateway.stages.breaker import BreakerState

_EVERY = 5.0  # how often the machine is asked (s)
_CERTIFICATES = 3_600.0  # and certificates
_DAY = 86_400.0

Certificates = Mapping[str, Sequence[Path]]
"""Files with certificates, by the part that uses them."""


class HouseFigures:
    """See the module. directory: where data lies; certificates: those in use at the moment."""

    def __init__(
        self, house: House, directory: Path, certificates: Callable[[], Certificates]
    ) -> None:
        self._house = house
        self._directory = directory
        self._certificates = certificates
        self._machine: dict[str, Figure] = {}
        self._ends: list[tuple[str, Path, float]] = []
        self._failing: dict[str, float] = {}

    async def run(self) -> None:
        """Ask what takes time to answer, until cancelled."""
        asked = float("-inf")
        while True:
            self._machine = await asyncio.to_thread(_machine, self._directory)
            if time.monotonic() - asked >= _CERTIFICATES:
                asked = time.monotonic()
                self._ends = await asyncio.to_thread(_ends, self._certificates())
            await asyncio.sleep(_EVERY)

    def __call__(self) -> dict[str, dict[str, Figure]]:
        """All of them, as they are now."""
        house = self._house
        found = {
            f"bridge/{name}": dict(self._bridge(delivery))
            for name, delivery in house.deliveries.items()
        }
        for name, intake in house.intakes.items():
            found[f"stage/intake-{name}"] = dict(self._source(name, intake))
        journal, history, clock = house.bus.journal, house.history, house.clock
        unset = 0.0 if clock.synced else clock.unset_for()
        found["stage/machine"] = {**self._machine, "clock_unset": Figure(round(unset))}
        found["stage/journal"] = {
            "journal_backlog": Figure(journal.backlog),
            "journal_trouble": Figure(bool(journal.trouble), journal.trouble),
        }
        found["stage/history"] = {"history_trouble": Figure(bool(history.failing), history.failing)}
        found["stage/broker"] = self._broker()
        for part, figure in bottlenecks.figures(house):
            found.setdefault(part, {})["limiting"] = figure
        self._add_certificates(found)
        return found

    def _bridge(self, delivery: Delivery) -> Iterator[tuple[str, Figure]]:
        subscription, trouble = delivery.subscription, delivery.retry.failing
        paused = delivery.state == "paused"
        down = self._down(f"bridge/{delivery.name}", bool(trouble) and not paused)
        yield "failing", Figure(round(down), trouble)
        yield "lag", Figure(round(delivery.oldest(), 3))
        yield "queued", Figure(delivery.pending)
        yield "breaker_open", Figure(delivery.pool.breaker.state is not BreakerState.CLOSED)
        yield "errors", Figure(sum(delivery.health.failed.values()), trouble)
        if subscription is not None:
            left = subscription.drops_in
            when = f"{about(left)}" if left is not None else "soon"
            yield "drops_soon", Figure(subscription.endangered, when)
            yield "dead_letters", Figure(subscription.ledger.dead_lettered)

    def _source(self, name: str, intake: Intake) -> Iterator[tuple[str, Figure]]:
        down = self._down(f"source/{name}", bool(intake.failing))
        yield "failing", Figure(round(down), intake.failing)
        yield "dead_letters", Figure(intake.balance.dead_lettered)

    def _broker(self) -> dict[str, Figure]:
        told = self._house.broker()
        found = {"connected": Figure(bool(told.get("connected")), str(told.get("trouble") or ""))}
        if told.get("dropped_recently") is not None:
            found["broker_dropped"] = Figure(told["dropped_recently"])
        return found

    def _down(self, name: str, down: bool) -> float:
        """How long something has been down (s)."""
        now = time.monotonic()
        if not down:
            self._failing.pop(name, None)
            return 0.0
        return now - self._failing.setdefault(name, now)

    def _add_certificates(self, found: dict[str, dict[str, Figure]]) -> None:
        if not self._house.clock.synced:
            return  # by a clock that is not set every certificate has ended, or none
        now = time.time()
        for part, path, end in self._ends:
            days = round((end - now) / _DAY, 1)
            known = found.setdefault(part, {}).get("certificate_days")
            if known is None or days < float(known.value):
                found[part]["certificate_days"] = Figure(days, str(path))


def _machine(directory: Path) -> dict[str, Figure]:
    root = Path("/")
    found = {"memory": Figure(psutil.virtual_memory().percent)}
    with suppress(OSError):  # where it is away the journal says so
        found["disk"] = Figure(psutil.disk_usage(str(directory)).percent)
    hottest = max(temperatures(root), key=lambda sensor: sensor[1], default=None)
    if hottest is not None:
        found["temperature"] = Figure(round(hottest[1], 1), hottest[0])
    bits = throttled(root)
    if bits:
        found["undervoltage"] = Figure(bits["undervoltage.now"])
        found["throttled"] = Figure(bits["throttled.now"])
    return found


def _ends(certificates: Certificates) -> list[tuple[str, Path, float]]:
    return [
        (part, path, end)
        for part, paths in certificates.items()
        for path in paths
        if (end := ends_at(path)) is not None
    ]
