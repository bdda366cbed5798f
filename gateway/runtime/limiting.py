"""How busy each stage is and what waits for it, and why one that limits does so."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from gateway.io.polling import next_second
from gateway.io.sqlite.database import Database
from gateway.runtime import bottlenecks
from gateway.stages.profiling import Cause, Detector, Look, LoopWatch, Schedule, Span

if TYPE_CHECKING:
    from gateway.runtime.delivery import Delivery
    from gateway.runtime.house import House

log = logging.getLogger(__name__)

_AFTER = 60.0  # a look that failed by a bug of ours (s)
_ON_THE_LOOP = ("decode", "history:add")
_MOSTLY = 0.5  # this share of the time is the reason for it
_STARVED = 0.4  # without a processor for this share of the time
_NO_PROCESSOR = 0.5  # the same, where it would otherwise not be at work all the time
_HELD = 0.3  # the event loop is held for this share of the time by single calls
_PATIENCE = 1.0  # how long what is to be committed may wait, besides what it is made to (s)


class Limiting:
    """See the module. Looks at the house until cancelled; what limits is in its profiler."""

    def __init__(self, house: "House") -> None:
        self._house = house
        settings = house.profiler.settings
        self._detector = Detector(settings.saturated, settings.within)
        self._threads: dict[str, Schedule] = {}
        self._told: bottlenecks.Known = {}

    async def run(self) -> None:
        """Look until cancelled."""
        loop, profiler = asyncio.get_running_loop(), self._house.profiler
        while True:
            due = next_second()
            await asyncio.sleep(due - loop.time())
            if profiler.loop is not None:
                profiler.loop.lag.add(loop.time() - due, 1)
            if not profiler.settings.enabled:
                profiler.limits = ()
                self._tell()
                continue
            try:
                self.look()
            except Exception:
                # The edge: who only looks must not end what he looks at.
                log.exception("profiling: this look failed; the next one is in %.1f s", _AFTER)
                await asyncio.sleep(_AFTER)

    def look(self) -> None:
        """Look once."""
        profiler = self._house.profiler
        settings, detector = profiler.settings, self._detector
        detector.saturated, detector.within = settings.saturated, settings.within
        looks = list(self._looks())
        before = {limit.stage for limit in profiler.limits}
        for cause in detector.look(time.monotonic(), time.time(), looks):
            log.warning("%s limits (%s): %s", cause.stage, cause.kind, cause.text)
        profiler.limits = sorted(detector.found, key=lambda limit: _rank(limit.cause))
        for stage in before - {limit.stage for limit in profiler.limits}:
            log.info("%s limits no more", stage)
        self._tell()
        profiler.queues = {look.stage: int(look.queue) for look in looks if look.stage != "loop"}
        profiler.servers = {
            f"deliver:{name}": delivery.settings.pool.max
            for name, delivery in self._house.deliveries.items()
        }

    def _tell(self) -> None:
        """On the bus: what has begun or ended to limit."""
        now = bottlenecks.known(self._house.profiler.limits)
        for event in bottlenecks.changes(self._told, now):
            self._house.bus.emit(event)
        self._told = now

    def _looks(self) -> Iterator[Look]:
        if self._house.profiler.loop is not None:
            yield self._loop(self._house.profiler.loop)
        yield self._journal()
        for store in self._house.stores:
            yield self._store(store)
        for delivery in self._house.deliveries.values():
            yield _bridge(delivery, self._detector)

    # -- the event loop ---------------------------------------------------------------------

    def _loop(self, watch: LoopWatch) -> Look:
        profiler = self._house.profiler
        figures = dict(self._ran("MainThread"))
        figures |= {name: profiler.busy(name) for name in _ON_THE_LOOP}
        # Woken and without a processor it still seems to rest; the kernel knows better.
        busy = {
            "at work": watch.at_work(),
            "runnable": figures.get("ran", 0.0) + figures.get("waited", 0.0),
        }
        figures |= {"held": watch.held(), **busy}
        cause = partial(_loop_cause, watch, self._detector)
        return Look("loop", busy, 1, 0, cause, figures=figures, sure=True)

    # -- disks ------------------------------------------------------------------------------

    def _journal(self) -> Look:
        journal = self._house.bus.journal
        stuck = journal.stuck_for()
        at_work = self._house.profiler.busy("journal") + stuck
        return Look(
            "journal",
            {"": at_work},
            journal.backlog,
            self._house.bus.head,
            partial(self._writer_cause, "journal", journal.trouble),
            least_wait=journal.options.gather + _PATIENCE,
            figures={"at work": at_work, **self._ran("journal")},
            sure=bool(journal.trouble),
        )

    def _store(self, store: Database) -> Look:
        history = self._house.history
        is_history = store is history.database
        stage = "history" if is_history else store.path.stem
        at_work = store.busy + store.stuck_for()
        queue = history.flushing if is_history else store.waiting
        trouble = history.failing if is_history else ""
        return Look(
            stage,
            {"": at_work},
            queue,
            0,
            partial(self._writer_cause, stage, trouble),
            least_wait=0.0,
            figures={"at work": at_work, **self._ran(store.path.name)},
            sure=bool(trouble),
        )

    def _writer_cause(self, stage: str, trouble: str, span: Span) -> Cause:
        if trouble:
            return Cause(stage, "disk", f"the disk refuses: {trouble}")
        at_work = span.grown("at work") or span.seconds
        waits = f"{span.now.queue:,.0f} readings wait"
        if stage != "journal":
            waits = f"{span.now.queue:,.0f} writes wait"
        if span.grown("waited") > _STARVED * at_work:
            return Cause(stage, "cpu", f"its thread gets no processor; {waits}")
        if span.grown("ran") > _MOSTLY * at_work:
            return Cause(stage, "service", f"packing takes all of its time; {waits}")
        return Cause(stage, "disk", f"waits for the disk nearly all the time; {waits}")

    def _ran(self, name: str) -> Mapping[str, float]:
        """How long a thread of ours ran and waited for a processor, by its name."""
        if name not in self._threads:
            thread = next((t.native_id for t in threading.enumerate() if t.name == name), None)
            if thread is None:
                return {}
            self._threads[name] = Schedule(thread)
        found = self._threads[name]()
        if not found:  # it has ended; another one may have taken its place
            self._threads.pop(name).close()
        return found


def _loop_cause(watch: LoopWatch, detector: Detector, span: Span) -> Cause | None:
    """Whether the event loop limits, and what on it."""
    load = max(span.loads().values())
    at_work = max(span.grown("at work"), span.grown("runnable"), 1e-9)
    waits = span.grown("waited") / span.seconds
    held = span.grown("held") / span.seconds
    saturated = load >= detector.saturated
    if waits >= (_STARVED * load if saturated else _NO_PROCESSOR):
        text = f"the gateway waits for a processor {min(waits, 1.0):.0%} of the time: "
        return Cause("loop", "cpu", text + "something else has it")
    if not saturated and (held < _HELD or waits >= _STARVED * held):
        return None
    by_stage = {name: span.grown(name) / at_work for name in _ON_THE_LOOP}
    most = max(by_stage, key=lambda name: by_stage[name])
    if by_stage[most] >= _MOSTLY:
        text = f"its own work takes {by_stage[most] * load:.0%} of the event loop's time"
        return Cause(most.partition(":")[0], "service", text)
    if held >= _HELD:
        by = f" by {watch.culprit}" if watch.culprit else ""
        text = f"the event loop is held {min(held, 1.0):.0%} of the time{by}"
        return Cause("loop", "blocked", text)
    return Cause("loop", "service", "the event loop is at work all the time")


def _bridge(delivery: "Delivery", detector: Detector) -> Look:
    """A bridge: its lanes are its servers."""
    subscription, stage = delivery.subscription, delivery.profiling
    paused = delivery.state == "paused" or subscription is None
    done = 0
    if subscription is not None:
        ledger = subscription.ledger
        done = ledger.delivered + ledger.dead_lettered
    return Look(
        stage.name,
        {} if paused else stage.busy(),
        delivery.pending,
        done,
        partial(_bridge_cause, delivery, detector),
        # Where nothing gets through, what waits is enough: where little comes the queue grows now
        # and then only, and each time it would limit anew.
        least_wait=0.0 if delivery.state in ("failing", "denied") else None,
        figures={"writes": stage.writes, "at work": sum(stage.busy().values())},
    )


def _bridge_cause(delivery: "Delivery", detector: Detector, span: Span) -> Cause:
    stage, lanes = span.now.stage, delivery.settings.pool.max
    loads = span.loads().values()
    saturated = sum(load >= detector.saturated for load in loads)
    waits = f"{span.now.queue:,.0f} readings wait"
    if delivery.retry.failing:
        return Cause(stage, "remote", f"the other side refuses: {delivery.retry.failing}; {waits}")
    longest = delivery.profiling.longest()
    if longest >= detector.within:
        text = f"a write has waited {longest:.1f} s for the other side's answer; {waits}"
        return Cause(stage, "remote", text)
    if lanes > 1 and saturated == 1:
        text = f"one of {lanes} lanes has nearly all of the work: a device's readings keep order"
        return Cause(stage, "queue", f"{text}; {waits}")
    # Those on their way count as well: else one that takes longer than we look would not.
    each = span.grown("at work") / max(span.grown("writes") + saturated, 1.0)
    return Cause(stage, "remote", f"the other side takes {each:.2f} s for each write; {waits}")


def _rank(cause: Cause) -> int:
    """What may be the reason for others comes first: a disk that everything waits for, then the
    event loop that everything runs on."""
    order: list[Callable[[], bool]] = [
        lambda: cause.stage == "journal" and cause.kind == "disk",
        lambda: cause.stage in ("loop", "decode"),
        lambda: not cause.stage.startswith("deliver:"),
    ]
    return next((n for n, test in enumerate(order) if test()), len(order))
