"""The base of every configuration model, and the value types that users write.

One pydantic model is tag, schema, documentation and factory: a driver ships a subclass of
`DeviceSettings`, `BridgeSettings` or `CodecSettings` whose `type` is its name in the
configuration, whose field descriptions become the reference in docs/, and whose `build` makes
the driver.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from gateway.core.contracts import Bridge, Codec, Context, Device, Endpoint, HostState
from gateway.core.descriptions import describe
from gateway.core.mqtt_url import parse_url

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_LONGEST = 36_500 * 86_400.0  # a hundred years: what adds to a clock in ns must fit 64 bits
_LARGEST = 10**18
_QUANTITY = re.compile(r"\s*(?P<number>-?[0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(?P<unit>[A-Za-zµ]*)\s*")


def parse_duration(value: Any) -> float:
    """`500ms`, `5s`, `1m`, `2h`, `7d` to seconds; a plain 0 needs no unit.

    Raises PydanticCustomError (type `duration`, context `message`, `unit`, `expected`).
    """
    return _quantity(value, "duration", _DURATION_UNITS)


def parse_size(value: Any) -> int:
    """`512B`, `64kB`, `10MB`, `1GB` (powers of ten) to bytes; a plain 0 needs no unit.

    Raises PydanticCustomError (type `size`, context `message`, `unit`, `expected`).
    """
    return round(_quantity(value, "size", _SIZE_UNITS))


def _duration(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds > _LONGEST:
        raise _refused("duration", "longer than 36500d", _DURATION_UNITS)
    return seconds


def _size(value: Any) -> int:
    size = parse_size(value)
    if size > _LARGEST:
        raise _refused("size", "larger than 1000000000GB", _SIZE_UNITS)
    return size


def duration_text(seconds: float) -> str:
    """Seconds as they are written: in the largest unit that gives a whole number, else ms."""
    return _text(seconds, _DURATION_UNITS, "s")


def size_text(size: float) -> str:
    """Bytes as they are written, likewise."""
    return _text(size, _SIZE_UNITS, "B")


def _text(value: float, units: Mapping[str, float], zero: str) -> str:
    if not value:
        return f"0{zero}"
    for unit, factor in sorted(units.items(), key=lambda item: -item[1]):
        number = value / factor
        # Whole numbers are exact; 0.3 s is 300 ms although a float says 299.99….
        whole = (
            value % round(factor) == 0
            if isinstance(value, int)
            else math.isclose(number, round(number), rel_tol=1e-12)
        )
        if whole and round(number):
            return f"{round(number)}{unit}"
    smallest = min(units, key=lambda unit: units[unit])
    return f"{value / units[smallest]:f}".rstrip("0").rstrip(".") + smallest


def _quantity(value: Any, what: str, units: Mapping[str, float]) -> float:
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool):
        raise _refused(what, f"not a {what}", units)
    number, unit = float(match["number"]), match["unit"]
    if number < 0:
        raise _refused(what, f"a {what} cannot be negative", units)
    if not unit and number:
        raise _refused(what, f"{what} without a unit", units)
    if unit and unit not in units:
        raise _refused(what, f'unknown {what} unit "{unit}"', units, unit)
    return number * units.get(unit, 1)


def _refused(
    what: str, message: str, units: Mapping[str, float], unit: str = ""
) -> PydanticCustomError:
    # Not a template with the unit in it: a brace in what the user wrote would be taken for a name.
    context = {"message": message, "unit": unit, "expected": ", ".join(units)}
    return PydanticCustomError(what, "{message}; expected {expected}", context)


def _written(what: str, units: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^\s*(0|[0-9]+(\.[0-9]+)?\s*({units}))\s*$"}
    return WithJsonSchema({"anyOf": [text, {"const": 0}], "x-kind": what})


Duration = Annotated[
    float, BeforeValidator(_duration), _written("duration", "|".join(_DURATION_UNITS))
]
"""Seconds, written `500ms 5s 1m 2h 7d`."""

Size = Annotated[int, BeforeValidator(_size), _written("size", "|".join(_SIZE_UNITS))]
"""Bytes, written `512B 64kB 10MB 1GB`."""


class Secret(SecretStr):
    """A password or token: masked wherever it is printed; `get_secret_value()` to use it."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


ID_PATTERN = r"^[a-z0-9_-]{1,64}$"

Id = Annotated[str, Field(pattern=ID_PATTERN)]
"""An id of ours: `[a-z0-9_-]`, at most 64 characters."""


class Settings(BaseModel):
    """Base of every configuration model: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,  # most are only ever a part of another, which is built with all its parts
        json_schema_extra=describe,
        hide_input_in_errors=True,  # a traceback in a log would show passwords
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Takes `yes` for text and `true` for nothing but a boolean, where pydantic would guess.
        A section with nothing in it has its defaults."""
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        wanted = _kinds(annotation)
        if value is None and len(wanted) == 1 and issubclass(next(iter(wanted)), Settings):
            return {}
        if wanted <= {bool, NoneType} and isinstance(value, str | int | float):
            if not isinstance(value, bool):
                raise PydanticCustomError("bool_type", "expected true or false")
        elif isinstance(value, bool) and wanted <= {int, float, NoneType}:
            raise PydanticCustomError("number_type", "expected a number")
        return value


@cache
def _kinds(annotation: Any) -> frozenset[type]:
    """The classes of values that a field takes; `object` where that cannot be told."""
    origin = get_origin(annotation)
    if origin is Literal:
        return frozenset(type(choice) for choice in get_args(annotation))
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return frozenset().union(*map(_kinds, get_args(annotation)))
    found = origin or annotation
    return frozenset({found if isinstance(found, type) else object})


def wrong(key: str, message: str, fix: str) -> PydanticCustomError:
    """What a model raises about one of its keys, for the error to point at that key's value."""
    return PydanticCustomError("wrong", "{message}", {"key": key, "message": message, "fix": fix})


class BrokerAddress(Settings):
    """How to reach an MQTT broker and be let in."""

    url: str | None = None
    """The broker, such as mqtts://broker.example:8883."""
    username: str | None = None
    """User name at that broker."""
    password: Secret | None = None
    """Password at that broker."""
    ca_file: str | None = None
    """Certificates that vouch for that broker; the system's if not given."""
    cert_file: str | None = None
    """Our own certificate for that broker."""
    key_file: str | None = None
    """Our certificate's key."""
    verify: bool = True
    """Check that broker's certificate."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version at that broker."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _protocol(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None:
            parse_url(value)
        return value

    @model_validator(mode="after")
    def _with_key(self) -> Self:
        if self.cert_file and not self.key_file:
            raise wrong("cert_file", "a certificate needs its key", "add key_file:")
        return self

    def refuse_access(self, message: str, fix: str) -> None:
        """Refuse keys that say how to be let in, for nobody would look at them."""
        for key in ("username", "password", "ca_file", "cert_file", "key_file"):
            if getattr(self, key) is not None:
                raise wrong(key, message, fix.format(key=key))

    def reached_at(self, found: Endpoint) -> Endpoint:
        """The whole address, of the broker at `found`."""
        return replace(
            found,
            username=self.username or found.username,
            password=self.password.get_secret_value() if self.password else found.password,
            ca_file=self.ca_file or "",
            cert_file=self.cert_file or "",
            key_file=self.key_file or "",
            verify=self.verify,
            protocol=self.protocol,
        )


class CodecSettings(Settings):
    """How a payload becomes readings."""

    type: str
    """Which codec."""

    def host_state(self) -> HostState | None:
        """What a source that hears senders of this kind publishes of itself; None: nothing."""
        return None

    def build(self) -> Codec:
        """The codec, for one source."""
        raise NotImplementedError


class DeviceSettings(Settings):
    """What every source has."""

    type: str
    """Which driver."""
    id: Id | None = None
    """The source's name; defaults to its type, with a number where that is taken."""

    def listens(self, broker: Endpoint) -> tuple[Endpoint, Sequence[str]] | None:
        """An MQTT broker, and the topic filters there that readings come from; None where they
        come otherwise. broker: the gateway's. No bridge may publish there: see gateway.config."""
        return None

    def claims(self) -> Mapping[tuple[str, ...], str]:
        """What of this machine it takes for itself alone, such as a pin, by the place of the key
        that says so. No two may claim one: see gateway.config.claims."""
        return {}

    def build(self, name: str, context: Context) -> Device:
        """The driver. name: `id`, or the default for it."""
        raise NotImplementedError


class BatchSettings(Settings):
    """How readings are gathered into one write."""

    size: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most readings in one write."""
    wait: Duration = 1.0
    """Longest a reading waits for others to fill the write."""


class BreakerSettings(Settings):
    """When to stop trying an endpoint for a while."""

    failures: Annotated[int, Field(ge=1)] = 5
    """Consecutive failures that open the breaker."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of failures among the calls within `window` that opens it too, from 10 calls on; 1:
    never."""
    window: Annotated[Duration, Field(gt=0)] = 60.0
    """How far back the share of failures looks."""
    reset: Duration = 30.0
    """How long it stays open before one trial."""


Times = Literal["forever"] | Annotated[int, Field(ge=1)]
"""How often; or without end."""


class RetrySettings(Settings):
    """What happens after a failed write."""

    strategy: Literal["exponential", "decorrelated", "fixed", "budgeted"] = "exponential"
    """How long the pauses between tries are: a random time below a bound that doubles; one between
    `base` and three times the pause before; about `base`; or as exponential as long as tries are at
    most a share (`budget`) of the writes that succeed, then `max`."""
    base: Duration = 0.5
    """Upper bound of the first pause; for decorrelated the shortest, for fixed every one."""
    max: Duration = 60.0
    """Upper bound of every pause."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.2
    """With strategy budgeted: how many tries each successful write allows."""
    attempts: Times = "forever"
    """After how many attempts a batch becomes dead letters."""
    denied: Times = "forever"
    """After how often being let in was refused (wrong token, no permission) the bridge stops and
    waits for `berrygate bridges resume`; its readings stay. For servers that lock users out."""
    unknown: Annotated[int, Field(ge=1)] = 3
    """How often a batch is tried on which the driver fails in an unknown way. Then it is halved to
    find the readings to blame; if it is all of them, the bridge stops."""
    summaries: Literal["never"] | Duration = "never"
    """While what is to be sent is older than this, one reading of each device and minute is sent
    instead of all (numbers averaged); the others count as dropped{summarised}."""
    fresh_first: Literal["never"] | Annotated[Duration, Field(ge=5)] = "never"
    """After an outage: what was stored longer ago than this is sent beside what is new instead of
    before it, and gives way to it. A device's readings are not sent in order then."""
    failover: Id | None = None
    """Another bridge whose server gets the readings while this one's is away; here they count as
    dropped{failover}."""
    failover_after: Duration = 300.0
    """For how long nothing must have got through before the other bridge stands in."""
    breaker: BreakerSettings = BreakerSettings()
    """When to stop trying an endpoint for a while."""


class PoolSettings(Settings):
    """Connections to the other side."""

    min: Annotated[int, Field(ge=0)] = 1
    """Connections kept open when idle."""
    max: Annotated[int, Field(ge=1, le=64)] = 4
    """Most connections, and most writes at a time; each device's readings stay in order."""
    idle: Annotated[Duration, Field(gt=0)] = 300.0
    """How long a connection above `min` that nobody needs is kept."""
    max_age: Duration = 3600.0
    """Age at which a connection is replaced once nobody uses it (up to a fifth earlier, so that not
    all go at once); 0: never."""
    check: Duration = 30.0
    """After how long without use a connection is looked at, in the background and before it is
    used; 0: never."""
    acquire_timeout: Annotated[Duration, Field(gt=0)] = 30.0
    """Longest a write waits for a connection while all are in use."""
    connect_timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """Longest a connection may take to open."""


class BridgeSettings(Settings):
    """What every bridge has."""

    type: str
    """Which driver."""
    name: Id | None = None
    """The bridge's name, and its place in the journal: a new name starts anew. Defaults to its
    type, with a number where that is taken."""
    devices: tuple[str, ...] = ("*",)
    """Which devices' readings, as shell patterns on device ids; one starting with `!` excludes."""
    start: Annotated[str, Field(pattern=r"^(now|earliest|-\d+(\.\d+)?(ms|s|m|h|d))$")] = "now"
    """Where a new bridge begins: now, earliest, or a time ago such as -7d (by when readings were
    stored)."""
    unsynced: Literal["hold", "send-marked"] = "hold"
    """While the clock is not set: hold readings (at most 10 min) and send them with their right
    times, or send them at once with the times they have, marked."""
    batch: BatchSettings = BatchSettings()
    """How readings are gathered into one write."""
    retry: RetrySettings = RetrySettings()
    """What happens after a failed write."""
    pool: PoolSettings = PoolSettings()
    """Connections to the other side."""

    def feeds(self, gateway: str) -> tuple[Sequence[Endpoint], str] | None:
        """MQTT brokers, and the topic there that readings are published to, in which `{…}` is
        what varies; None where they go elsewhere. gateway: our id."""
        return None

    def build(self, name: str, context: Context) -> Bridge[Any]:
        """The driver. name: `name`, or the default for it."""
        raise NotImplementedError
