"""The shapes of answers, for the OpenAPI document. They describe; nothing is validated on the
way out, for a field more must never turn an answer into an error."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all shapes: more fields may come."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Part(Answer):
    """Health of one part."""

    level: str
    """EXCELLENT, GOOD, WARNING, CRITICAL, FAILED or UNKNOWN."""
    score: int
    """0 to 100."""


class Health(Part):
    """Health of the whole."""

    reasons: list[dict[str, Any]]
    """What points were lost for: metric, value, limit, cost, text; doing: what is done about it."""
    components: dict[str, Part]
    """By `<kind>/<name>`; all but devices."""


class SourceLedger(Answer):
    """received = journalled + repeated + dead_lettered + dropped + in_flight (frames)."""

    received: int
    journalled: int
    repeated: int
    dead_lettered: int
    dropped: dict[str, int]
    in_flight: int
    difference: int
    """Frames nobody can explain; anything but 0 is a bug."""


class BridgeLedger(Answer):
    """matched = delivered + pending + dead_lettered + dropped (readings)."""

    matched: int
    delivered: int
    pending: int
    dead_lettered: int
    dropped: dict[str, int]
    replayed: int
    difference: int
    """Readings nobody can explain; anything but 0 is a bug."""


class BrokerLedger(Answer):
    """What never reached a source."""

    dropped: int | None
    """Messages that the broker itself threw away, of all its clients; null where that is not
    known."""


class Ledger(Answer):
    """What came in and what became of it."""

    sources: dict[str, SourceLedger]
    bridges: dict[str, BridgeLedger]
    broker: BrokerLedger


class Replay(Answer):
    """What a bridge sends again on request, or the last it sent. Times in epoch ms."""

    state: str
    """running, done, stopped or failed."""
    start: int
    end: int
    devices: str
    """A shell pattern on device ids."""
    journal_from: int
    """What is older than this the journal no longer had."""
    progress: float
    """0 to 1."""
    sent: int
    """Readings that were taken."""
    refused: int
    """Readings that became dead letters."""


class LetterGroup(Answer):
    """Dead letters of one device for one reason."""

    stage: str
    """decode (of a source) or deliver (of a bridge)."""
    name: str
    reason: str
    device: str
    count: int
    first: int
    """When the first of them came, epoch ms."""
    last: int
    refused: int
    """How often they were refused in all: also on a retry, in a replay, again after a crash."""
    detail: str
    """What was said of one of them."""


class Letter(Answer):
    """One dead letter."""

    id: int
    stage: str
    name: str
    reason: str
    detail: str
    device: str
    topic: str
    payload: str
    """Its beginning, as text; empty for a reading that a bridge's other side refused."""
    size: int
    """Of the whole payload, bytes."""
    time: int
    """When it was refused first, epoch ms."""
    last: int
    """When last."""
    count: int
    """How often."""
    reading: dict[str, Any] | None
    """time and values, for what a bridge's other side refused."""


class Letters(Answer):
    """Dead letters."""

    groups: list[LetterGroup]
    """The most frequent first, at most 100."""
    letters: list[Letter]
    """The newest first."""


class Kept(Answer):
    """A dead letter that was refused again."""

    id: int
    reason: str


class Retried(Answer):
    """What became of dead letters that were tried again."""

    taken: int
    """How many are dead letters no longer."""
    kept: list[Kept]
    """Those that were refused again, and stay."""
    next: int | None
    """`after` for the next request; null at the end."""


class PoolEndpoint(Answer):
    """One place that a bridge writes to."""

    name: str
    state: str
    """HEALTHY, DEGRADED (used, but has failed lately), FAILED (not used) or RECOVERING."""
    breaker: str
    """closed, open or half_open."""
    latency: float
    """What a write takes there (s); rises at once and falls slowly."""


class Pool(Answer):
    """A bridge's connections."""

    idle: int
    busy: int
    waiting: int
    """Writes that wait for one."""
    max: int
    opened: int
    """Since the bridge started."""
    closed: dict[str, int]
    """The same, by reason."""
    endpoints: list[PoolEndpoint]


class Troubles(Answer):
    """What went wrong with a bridge, and how it came right again."""

    hour: dict[str, int]
    """Errors of the last hour by kind: unavailable, throttled, denied, rejected, unknown."""
    day: dict[str, int]
    """Those of the last day."""
    outages: int
    """How many there have been since the start and are over."""
    unaided: int
    """How many of them ended although nobody paused or resumed the bridge."""
    down: float
    """How long all of them took (s)."""
    recovery: float | None
    """How long one took on average (s), of the last thousand."""
    longest: float | None
    since: int | None
    """When the one that goes on began, epoch ms."""


class Minute(Answer):
    """Errors of one minute."""

    time: int
    """When it began, epoch ms."""
    errors: dict[str, int]
    """By kind."""


class Outage(Answer):
    """From the first attempt that failed to the next one that got through."""

    began: int
    seconds: float
    unaided: bool
    """Nobody paused or resumed the bridge meanwhile."""


class Errors(Answer):
    """What went wrong with a bridge in the last day, the oldest first."""

    minutes: list[Minute]
    """Those in which there were errors."""
    outages: list[Outage]
    now: Outage | None
    """The one that goes on."""


class Bridge(Answer):
    """One bridge."""

    name: str
    type: str
    state: str
    """running, paused, failing (it tries again), denied (a person must act; it tries again
    slowly), stopped (a person must act and resume it) or failed over (another bridge stands in)."""
    pool: Pool
    """Its connections."""
    replay: Replay | None
    """What it sends again on request, or the last it sent."""
    set_aside: bool = False
    """Whether something is still to be sent beside what is new, see retry.fresh_first."""
    troubles: Troubles


class Limit(Answer):
    """One limit."""

    used: int | None
    """How much of it, where that can be told."""
    limit: int
    refused: int
    """Frames refused because of it, since the start."""


class Status(Answer):
    """Everything at a glance."""

    id: str
    version: str
    state: str
    since: int
    """When it started, epoch ms."""
    uptime: float
    """Seconds since then."""
    ready: bool
    reasons: list[str]
    """Why it is not ready."""
    health: Health
    ledger: Ledger
    journal: dict[str, Any]
    devices: dict[str, Any]
    bridges: list[Bridge]
    broker: dict[str, Any]
    limits: dict[str, Limit]
    """By key of `limits`."""


class Device(Answer):
    """One device."""

    id: str


class Series(Answer):
    """One series."""

    device: str
    metric: str


class Points(BaseModel):
    """A stretch of one series."""

    device: str
    metric: str
    points: list[Annotated[list[float | bool | str | None], Field(min_length=2, max_length=2)]]
    """[epoch ms, value]; value is null where it is not a number that JSON can hold."""


class HealthHistory(BaseModel):
    """How a part was."""

    part: str
    points: list[Annotated[list[int | str | None], Field(min_length=4, max_length=4)]]
    """[epoch ms, score, level, what cost it most]; where the score is null nobody knew."""


class Performance(Answer):
    """Where time goes."""

    stages: dict[str, dict[str, Any]]
    """Per stage: records since the start, rate (records/s), p50, p95, p99, p999, max (s), share of
    all stages' time, utilisation (0 to 1), queue (what waits for it), level and trend."""
    bottleneck: str | None
    """The stage that limits; where none does, the one with the largest share."""
    why: str
    """Why that one."""
    limits: list[dict[str, Any]]
    """What limits, the worst first: stage, cause (service, queue, disk, remote, cpu, blocked), text
    and since."""
    loop: dict[str, Any] | None
    """The event loop over the last minute: lag_p50, lag_p99, lag_max (s), slow_recently, longest
    (s); since the start: slow_callbacks, slow_seconds, culprits."""
    window: str
    """Over which time: 1m, 15m or 1h."""


class Alive(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """Data is accepted."""

    ready: bool
