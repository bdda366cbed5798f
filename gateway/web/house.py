"""What the faces (HTTP, control socket) need of the running gateway."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from gateway.broker import LanControl
from gateway.core.contracts import Reading
from gateway.runtime.alerting import Alerting
from gateway.runtime.commanding import Commanding
from gateway.runtime.managing import Managing
from gateway.runtime.twinning import Twinning
from gateway.store.exporting import Export, Selection
from gateway.store.importing import Import, Options


class House(Protocol):
    """The running gateway, as its faces see it. Times in what it returns are epoch ms.

    registry: the histograms that parts of the gateway observe into. lan: what opens the embedded
    broker to the network; None where another broker is used. alerting: what watches and tells;
    None where that is off. commanding: what has devices do something; None while starting.
    managing, twinning: what keeps the registry, and state that is desired; likewise.
    """

    @property
    def lan(self) -> LanControl | None: ...

    @property
    def alerting(self) -> Alerting | None: ...

    @property
    def commanding(self) -> Commanding | None: ...

    @property
    def managing(self) -> Managing | None: ...

    @property
    def twinning(self) -> Twinning | None: ...

    @property
    def registry(self) -> CollectorRegistry: ...

    def ready(self) -> tuple[bool, list[str]]:
        """Whether data is accepted, and if not, why."""
        ...

    def status(self) -> dict[str, Any]:
        """id, version, state, since, uptime (s), ready, reasons, clock, health, journal, ledger
        (sources and bridges by name, each with its difference), devices (count), bridges,
        broker, limits (by key: used or None, limit, refused)."""
        ...

    def devices(self) -> list[dict[str, Any]]:
        """Every known device: id, what it last said, its health."""
        ...

    def device(self, device: str) -> dict[str, Any]:
        """One device. Raises LookupError."""
        ...

    def driver(self, source: str) -> object:
        """The driver of a source. Raises LookupError."""
        ...

    def bridges(self) -> list[dict[str, Any]]:
        """Every configured bridge: name, type, state, breaker, oldest (s), ledger, last_error."""
        ...

    def health(self) -> dict[str, Any]:
        """The whole's health and that of each part, with reasons."""
        ...

    async def health_history(
        self, part: str, start: int, end: int, points: int | None = None
    ) -> Sequence[Any]:
        """[ms, score or None, level, why] of `<kind>/<name>` in [start, end), ns: a point for each
        change, or `points` of them. Raises LookupError."""
        ...

    def performance(self, window: str = "1m") -> dict[str, Any]:
        """Rate and durations (s) per stage over a window (1m, 15m, 1h), the bottleneck and why,
        what limits, the event loop, the ledger. Raises ValueError for another window."""
        ...

    def overview(self, sort: str, text: str, limit: int, offset: int) -> dict[str, Any]:
        """What one screen shows: time (epoch ms) and `at` (s, monotonic), id, version, uptime (s),
        ready, reasons, health, stages, bottleneck, why, limits, sources, bridges, broker, journal
        (appended: bytes since the start), process (cpu: s, rss: bytes), devices: count, matching,
        levels, and `limit` rows from `offset` on of those whose id holds `text`, sorted by `sort`
        (see OverviewParams)."""
        ...

    async def reload(self, confirm: float | None = None) -> dict[str, Any]:
        """Read the configuration again: {ok, file, changes | problems, confirm}."""
        ...

    async def keep(self) -> dict[str, Any]:
        """Keep the configuration that is on trial. Raises LookupError if none is."""
        ...

    async def series(self, device: str | None = None) -> Sequence[dict[str, Any]]:
        """Which metrics of which devices history knows. Raises LookupError."""
        ...

    async def query(
        self,
        device: str,
        metric: str,
        start: int,
        end: int,
        points: int | None = None,
        aggregate: str | None = None,
    ) -> Sequence[tuple[int, Any]]:
        """[ms, value] of one series in [start, end), both ns since the epoch.

        Raises LookupError for an unknown series, ValueError for an aggregate that does not fit it.
        """
        ...

    def exporting(self, chosen: Selection) -> AbstractContextManager[Export]:
        """History on its way out, while inside. Raises LookupError where nothing fits,
        Unavailable."""
        ...

    def importing(self, options: Options) -> AbstractContextManager[Import]:
        """A way into history while inside, one at a time. Raises Conflict, Unavailable."""
        ...

    async def pause(self, bridge: str) -> dict[str, Any]:
        """Let a bridge send nothing until it is resumed; the bridge. Raises LookupError."""
        ...

    async def resume(self, bridge: str) -> dict[str, Any]:
        """Let a bridge send again; the bridge. Raises LookupError."""
        ...

    async def replay(self, bridge: str, start: int, end: int, devices: str) -> dict[str, Any]:
        """Let a bridge send [start, end), ns, of devices that match a shell pattern again; how
        that stands. Raises LookupError, Conflict, ValueError."""
        ...

    async def stop_replay(self, bridge: str) -> dict[str, Any]:
        """End a bridge's replay; how far it had come. Raises LookupError, Conflict."""
        ...

    def errors(self, bridge: str) -> dict[str, Any]:
        """What went wrong with a bridge in the last day: `minutes` (time, errors by kind) and
        `outages` (began, seconds, unaided), the oldest first. Raises LookupError."""
        ...

    async def letters(self, name: str | None, limit: int, before: int) -> dict[str, Any]:
        """The dead letters of a bridge or source, or all: `groups` by reason and device, and the
        newest `letters` with ids below `before`. Raises LookupError."""
        ...

    async def retry(self, name: str, ids: Sequence[int], after: int) -> dict[str, Any]:
        """Try dead letters of a bridge or source again: these, or the oldest with ids above
        `after`. taken, kept and next. Raises LookupError, Conflict, Unavailable."""
        ...

    def tail(self, pattern: str = "*") -> AsyncIterator[list[Reading]]:
        """Readings of devices that match a shell pattern, as they arrive, until closed."""
        ...
