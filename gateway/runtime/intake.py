"""The pump from a device into the bus: receive, decode, publish, acknowledge after the commit."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from gateway.bus.bus import Bus
from gateway.bus.gather import Entry
from gateway.bus.records import RepeatKeys
from gateway.core.contracts import Burst, Busy, Detailed, Device, Rejected, Stored, Watched
from gateway.core.errors import BerrygateError, ConfigError, Denied
from gateway.core.events import Failed
from gateway.core.ledger import SourceLedger
from gateway.runtime.decoded import Decoded
from gateway.runtime.decoding import Decoder
from gateway.runtime.finishing import Finishing
from gateway.runtime.pieces import Pieces
from gateway.runtime.refusals import Refusals
from gateway.runtime.repeats import Repeats
from gateway.runtime.undecoded import Undecoded
from gateway.stages.profiling import RECEIVE, Profiler
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import Devices

log = logging.getLogger(__name__)

BACKLOG = 10_000
"""Readings that may wait for their commit before sources are held back."""
BACKLOG_BYTES = 8_000_000
"""The same in bytes as received; in memory they are several times as many."""
WINDOW = 32_768
"""Frames journalled last, among which a repeat is looked for. A broker that was killed sends again
what was in flight when it last saved, up to a minute ago; more than half as many frames as there
are packet ids, and one may be another message's by now."""
_BAD = 200  # what a dead letter costs besides its payload (bytes)
_RESTART = 30.0
_ANSWER = 0.1  # how long a source that waits for its answer may be kept waiting (s)
_OVER = Rejected("rate", "more messages than limits.rate allows")


@dataclass(slots=True)
class Services:
    """What every intake shares."""

    bus: Bus
    devices: Devices
    dead_letters: DeadLetters
    profiler: Profiler


@dataclass(slots=True)
class Intake:
    """One source. stopped: it will not be tried again until the configuration changes. last: ns
    when the last burst came. taking: at a burst, and not waiting for one."""

    device: Device
    decoder: Decoder
    services: Services
    earlier: Iterable[RepeatKeys] = ()
    ledger: SourceLedger = field(default_factory=SourceLedger)
    stopped: bool = False
    last: int = 0
    taking: bool = False
    refusals: Refusals = field(init=False)
    _failed_with: str = ""
    _waiting: int = 0  # bytes that wait for their commit, or to be kept as dead letters
    _finishing: Finishing = field(default_factory=Finishing)
    _undecoded: Undecoded = field(init=False)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _pieces: Pieces = field(default_factory=Pieces)
    _repeats: Repeats = field(init=False)
    _told: Counter[str] = field(default_factory=Counter)  # of what the driver itself counts
    # What the device can say of itself, found out once: it takes 10 us.
    _watched: Watched | None = field(init=False)
    _detailed: Detailed | None = field(init=False)

    def __post_init__(self) -> None:
        self._watched = self.device if isinstance(self.device, Watched) else None
        self._detailed = self.device if isinstance(self.device, Detailed) else None
        self._repeats = Repeats(WINDOW, self.earlier)
        name, emit = self.device.name, self.services.bus.emit
        self.refusals = Refusals(name, emit)
        self._undecoded = Undecoded(name, self.services.dead_letters, self.refusals, emit)

    def succeed(self, other: "Intake") -> None:
        """Go on for another intake of the same source, which has ended: with its ledger, and
        knowing which frames it journalled last."""
        self.ledger = other.balance
        self._repeats = other._repeats
        self.refusals.counts = other.refusals.counts
        self.last = other.last

    async def run(self) -> None:
        """Pump until cancelled; a driver that fails is started again, with growing pauses."""
        pause = 1.0
        while True:
            started = time.monotonic()
            try:
                await self._pump()
            except (Denied, ConfigError) as error:
                self._failed(error)
                self.stopped = True
                return
            except Exception as error:  # the supervisor's edge: one driver's bug
                self._failed(error)
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # Raised by its end in place of our own: begun again, nobody would end it.
                    raise asyncio.CancelledError from error
            if time.monotonic() - started > _RESTART:
                pause = 1.0
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, _RESTART)

    def _failed(self, error: Exception) -> None:
        known = isinstance(error, BerrygateError)
        log.error("device %s: %s", self.device.name, error, exc_info=None if known else error)
        self._failed_with = str(error) or type(error).__name__
        kind = type(error).__name__.lower()
        self.services.bus.emit(
            Failed(kind="device", name=self.device.name, error=kind, reason=self._failed_with)
        )

    @property
    def failing(self) -> str:
        """Why nothing comes from the source at the moment, or ""."""
        trouble = self._watched.trouble if self._watched is not None else ""
        return self._failed_with or trouble

    @property
    def concern(self) -> str:
        """What is wrong with the source although data comes, or ""."""
        return self._detailed.concern if self._detailed is not None else ""

    @property
    def balance(self) -> SourceLedger:
        """The ledger, with what the driver itself had to throw away."""
        device = self._watched
        if device is not None:
            self.ledger.retained += self._grown("retained", device.retained)
            for reason, count in device.dropped.items():
                grown = self._grown(f"dropped {reason}", count)
                self.ledger.dropped[reason] += grown
                self.ledger.received += grown
        return self.ledger

    def _grown(self, what: str, count: int) -> int:
        grown = count - self._told[what]
        self._told[what] = count
        return grown

    async def _pump(self) -> None:
        async with aclosing(self.device.listen()) as bursts:  # type: ignore[type-var]
            async for burst in bursts:
                self._failed_with = ""
                self.last = burst.received
                self.taking = True
                try:
                    for piece in self._pieces.of(burst):
                        await self._take(piece)
                finally:
                    self.taking = False

    async def _take(self, burst: Burst) -> None:
        count = len(burst)
        self.ledger.received += count
        self.ledger.in_flight += count
        if not await self._admitted(burst):
            return
        began, profiler = time.perf_counter(), self.services.profiler
        profiler.observe(RECEIVE, max(time.time_ns() - burst.received, 0) / 1e9, count)
        with profiler.measure("decode", count):
            decoded, repeated, keys = self._decode(burst)
        self.services.devices.seen(decoded.readings)
        for device, over in decoded.over.items():
            self.refusals.note("rate", over, device)
        if decoded.ignored or decoded.left_out:
            for device, unwanted in (decoded.ignored + decoded.left_out).items():
                self.services.devices.left_out(device, unwanted)
        if decoded.readings:
            self.services.bus.emit(decoded.readings)
        weight = decoded.size + sum(_BAD + len(bad.payload) for bad in decoded.bad)
        self._waiting += weight
        # An acknowledged frame is either readings or a dead letter on disk.
        finish = self._finish(burst, decoded, repeated, weight)
        done = self._finishing.add(2 if decoded.bad else 1, finish)
        if decoded.bad:
            self._undecoded.put(decoded.bad, burst.received, done)
        if not self.services.devices.settled:
            await self.services.devices.settle()
        entry = Entry(decoded.readings, decoded.size, keys, waited=burst.waited, done=done)
        entry.gather = _gather(burst, decoded)
        self.services.bus.publish(entry)
        if self._pieces.took(count, began):
            await asyncio.sleep(0)

    async def _admitted(self, burst: Burst) -> bool:
        """Hold a patient source back while the disk refuses; send others away."""
        bus, services = self.services.bus, self.services
        trouble = bus.journal.trouble or services.devices.trouble or services.dead_letters.trouble
        full = bus.journal.backlog >= BACKLOG or self._waiting >= BACKLOG_BYTES
        if not full and (burst.patient or not trouble):
            return True
        if burst.patient:
            await bus.room(BACKLOG)
            while self._waiting >= BACKLOG_BYTES:
                self._freed.clear()
                await self._freed.wait()
            return True
        self.ledger.in_flight -= len(burst)
        self.ledger.dropped["busy"] += len(burst)
        burst.done(Busy(after=5.0))
        return False

    def _decode(self, burst: Burst) -> tuple[Decoded, int, RepeatKeys | None]:
        if burst.readings is not None:
            return self.decoder.take(burst, burst.readings), 0, None
        if not burst.packet_ids:
            return self.decoder.decode(burst), 0, None
        senders = self.decoder.senders.all_of(burst.topics)
        hashes = self.decoder.senders.hashes(burst.topics, burst.payloads, senders)
        skip: Sequence[bool] = ()
        if burst.renewed:
            self._repeats.forget()
        if any(burst.repeats):
            skip = self._repeats.among(burst.repeats, burst.packet_ids, hashes)
        decoded = self.decoder.decode(burst, skip, senders)
        keys = self._repeats.remember(self.device.name, burst.packet_ids, hashes)
        return decoded, sum(skip), keys

    def _finish(
        self, burst: Burst, decoded: Decoded, repeated: int, weight: int
    ) -> Callable[[], None]:
        frames, bad, over = decoded.frames, len(decoded.bad), decoded.over.total()
        ignored = decoded.ignored.total()
        outcome = Stored() if burst.patient else Stored(_rejected(decoded))

        def done() -> None:
            self._waiting -= weight
            self._freed.set()
            ledger = self.ledger
            ledger.journalled += frames
            ledger.repeated += repeated
            ledger.dead_lettered += bad
            if over:
                ledger.dropped["rate"] += over
            if ignored:
                ledger.dropped["ignored"] += ignored
            ledger.in_flight -= frames + repeated + bad + over + ignored
            burst.done(outcome)

        return done


def _rejected(decoded: Decoded) -> dict[int, Rejected]:
    """The frames that are no readings, by their place."""
    found = {bad.place: Rejected(bad.reason, bad.detail) for bad in decoded.bad}
    return found | dict.fromkeys(decoded.over_at, _OVER)


def _gather(burst: Burst, decoded: Decoded) -> float | None:
    """How long a burst may wait for its commit (s); None: as long as the journal lets it."""
    # Frames that say nothing, as some sentences of a GPS receiver do, hurry nobody.
    if burst.urgent or not (decoded.readings or decoded.frames):
        return 0.0
    return None if burst.patient else _ANSWER
