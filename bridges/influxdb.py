"""InfluxDB: 2 and 3 through influxdb-client, 1 through its /write."""

import asyncio
import importlib.util
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gateway.codecs.line_protocol import LineEncoder, reserved, template_names
from gateway.codecs.line_refusals import refusals, said
from gateway.core.contracts import Batch, Bridge, Context, Reading
from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.core.secrecy import concealed_line
from gateway.core.settings import BridgeSettings, Duration, Secret, Settings, Size, wrong
from gateway.io.blocking import Blocking
from gateway.io.http import Answer, failure
from gateway.io.parts_of import parts_of
from gateway.io.posting import Post, posting

if TYPE_CHECKING:
    import urllib3

if importlib.util.find_spec("influxdb_client") is None:
    # Said when the configuration is read, not when the first batch is sent.
    raise ModuleNotFoundError("No module named 'influxdb_client'", name="influxdb_client")

_URL = r"^https?://[^/\s?#]+[^\s?#]*$"
_AGAIN = 8  # so often a body is sent without the lines that were named, then it is bisected
_SMALL = 16_384  # a body that no server means when it says that one is too large (bytes)


class MappingSettings(Settings):
    """What a reading becomes."""

    measurement: Annotated[str, Field(pattern=r"^[^#]")] = "{device}"
    """Measurement; `{device}` is the device's id. Not beginning with `#`: that makes a comment."""
    tags: Mapping[str, str] = Field(default_factory=dict)
    """Tags added to each point; values may use `{device}`."""
    fields: Mapping[str, str] = Field(default_factory=dict)
    """Metrics that are to have another field name."""

    @field_validator("measurement")
    @classmethod
    def _measurement(cls, value: str) -> str:
        template_names(value, ["device"])
        return value

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, template in value.items():
            if reserved(key, underscore=True):
                raise ValueError(f'"{key}" is reserved and cannot be a tag')
            template_names(template, ["device"])
        return value

    @field_validator("fields")
    @classmethod
    def _fields(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value.values():
            if reserved(name, underscore=False):
                raise ValueError(f'"{name}" is reserved and cannot be a field')
        return value


class InfluxdbSettings(BridgeSettings):
    """An InfluxDB server, or what speaks like one (VictoriaMetrics)."""

    type: Literal["influxdb"] = "influxdb"
    """Which driver."""
    url: str = Field(pattern=_URL)
    """Where the server is, such as http://influx.local:8086."""
    more_urls: tuple[Annotated[str, Field(pattern=_URL)], ...] = ()
    """Further servers that have the same data, such as relays or the nodes of a cluster; each write
    goes to the one that is best."""
    version: Literal["2", "1", 1, 2] = "2"
    """2 for InfluxDB 2 and 3 (token, org, bucket), 1 for InfluxDB 1 (database)."""
    token: Secret | None = None
    """API token that may write to the bucket."""
    org: str = ""
    """Organisation (version 2)."""
    bucket: str | None = None
    """Bucket (version 2)."""
    database: str | None = None
    """Database (version 1)."""
    retention_policy: str | None = None
    """Retention policy (version 1); the database's default if not given."""
    username: str | None = None
    """User name (version 1)."""
    password: Secret | None = None
    """Password (version 1)."""
    timeout: Duration = 3.0
    """Longest one write may take."""
    max_body: Size = 10_000_000
    """Most bytes in one write, before compression; a larger batch becomes several. A server's own
    limit is found out by its refusals (HTTP 413)."""
    gzip: Literal["auto"] | bool = "auto"
    """Compress what is written; auto: unless the server is on this machine, where it would cost
    more than it spares."""
    verify: bool = True
    """Check the server's certificate."""
    ca_file: str | None = None
    """Certificates that vouch for the server; the system's if not given."""
    mapping: MappingSettings = MappingSettings()
    """What a reading becomes."""

    @model_validator(mode="after")
    def _complete(self) -> "InfluxdbSettings":
        if str(self.version) == "2" and not self.bucket:
            raise ValueError("version 2 needs a bucket (for InfluxDB 1 set version: 1)")
        if str(self.version) == "1" and not self.database:
            raise ValueError("version 1 needs a database")
        if len(self.servers) <= len(self.more_urls):
            raise wrong("more_urls", "a server is named twice", "name each once")
        return self

    @property
    def servers(self) -> Mapping[str, str]:
        """Every URL, by what may be shown of it."""
        return {concealed_line(url): url.rstrip("/") for url in (self.url, *self.more_urls)}

    def build(self, name: str, context: Context) -> Bridge[Any]:
        """The driver."""
        return InfluxdbBridge(name, self)


class _TooLargeError(Exception):
    """A body was too large (HTTP 413). size: its bytes before compression."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class InfluxdbBridge:
    """See the module."""

    def __init__(self, name: str, settings: InfluxdbSettings) -> None:
        self.name = name
        self._settings = settings
        self._servers = settings.servers
        self.endpoints = tuple(self._servers)
        mapping = settings.mapping
        self._first = str(settings.version) == "1"
        self._encoder = LineEncoder(
            mapping.measurement, mapping.tags, mapping.fields, underscore=not self._first
        )
        self._blocking = Blocking(f"influxdb-{name}")
        self._most = settings.max_body

    @asynccontextmanager
    async def connect(self, endpoint: str = "") -> AsyncIterator[Post]:
        """A connection; checked by the first write. Raises Denied if a certificate cannot be
        read."""
        make = _version_1 if self._first else _version_2
        try:
            # In a thread: it reads files.
            await asyncio.to_thread(_readable, self._settings.ca_file)
            url = self._servers[endpoint or self.endpoints[0]]
            write, close = await asyncio.to_thread(make, self._settings, url)
        except (OSError, ssl.SSLError) as error:
            raise Denied(f"{self._settings.ca_file}: {error}") from error
        try:
            yield write
        finally:
            close()

    async def check(self, conn: Post) -> None:
        """A write of nothing: credentials, and that what is written to exists, are looked at
        before the server misses the points. Raises Unavailable or Denied."""
        await self._post(conn, b"")

    async def send(self, conn: Post, batch: Batch) -> None:
        """Write a batch. Raises Unavailable, Throttled, Denied or Rejected."""
        lines, refused = self._encoder.lines(batch.readings)
        left = [index for index, line in enumerate(lines) if line]
        while left:
            count = _fitting(lines, left, self._most)
            try:
                refused |= await self._write(conn, batch, lines, left[:count])
            except _TooLargeError as error:
                if count > 1:
                    self._smaller(error)
                    continue
                refused[left[0]] = f"too large for the server: {error}"
            left = left[count:]
        if refused:
            reason = next(iter(refused.values()))
            raise Rejected(reason, indices=sorted(refused), reasons=refused)

    def _smaller(self, error: "_TooLargeError") -> None:
        """From now on no body is as large as the one that was refused. Raises Rejected where that
        was a small one already: then the batch is bisected, and nothing is learnt."""
        if error.size < _SMALL:
            raise Rejected(str(error)) from error
        self._most = min(self._most, error.size // 2)

    async def _write(
        self, conn: Post, batch: Batch, lines: Sequence[str], chosen: Sequence[int]
    ) -> dict[int, str]:
        """Write the lines at these places of the batch, those that are named as bad left out; why
        these were refused. Writing a good line again changes nothing: a point is known by its
        measurement, tags and time."""
        refused: dict[int, str] = {}
        for _ in range(_AGAIN):
            body = "\n".join([lines[index] for index in chosen]).encode()
            answer = await self._post(conn, body)
            if answer.status < 300:
                return refused
            if answer.status == 413:
                raise _TooLargeError(said(answer.text) or "HTTP 413", len(body))
            found = refusals(
                answer.text,
                [lines[index] for index in chosen],
                partial(self._conflicting, [batch.readings[index] for index in chosen]),
            )
            refused |= {chosen[place]: reason for place, reason in found.reasons.items()}
            chosen = [index for index in chosen if index not in refused]
            if found.rest_taken or not chosen:
                return refused
            if not found.reasons:
                break
        raise Rejected(said(answer.text) or f"HTTP {answer.status}")

    def _conflicting(
        self, readings: Sequence[Reading], measurement: str, field: str, kind: str
    ) -> list[int]:
        encoder = self._encoder
        return [
            place
            for place, reading in enumerate(readings)
            if encoder.measurement_of(reading) == measurement
            and encoder.kind_of(reading, field) == kind
        ]

    async def _post(self, conn: Post, body: bytes) -> Answer:
        """The answer to a body, where it was taken or its content is to blame. Raises Unavailable,
        Throttled or Denied."""
        try:
            # Some time more than the client's own limit, which is the one that should be met.
            answer = await self._blocking.call(lambda: conn(body), self._settings.timeout + 1.0)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._settings.timeout:g} s") from error
        if answer.status >= 300 or answer.is_page:
            meant = failure(answer, said(answer.text) or f"HTTP {answer.status}")
            if meant is not None:
                raise meant
        return answer


def _readable(ca_file: str | None) -> None:
    """Raises OSError or ssl.SSLError; the clients would only say so with the first write, as if
    the server were away."""
    if ca_file is not None:
        ssl.create_default_context(cafile=ca_file)


def _version_2(settings: InfluxdbSettings, server: str) -> tuple[Post, Callable[[], None]]:
    configuration, rest, version = _client()
    options = configuration.Configuration()
    options.verify_ssl, options.ssl_ca_cert = settings.verify, settings.ca_file
    # No retries: the retry stage does that; and a redirect must not carry the token away.
    pool: urllib3.PoolManager = rest.RESTClientObject(options, retries=False).pool_manager
    query = {"org": settings.org, "bucket": settings.bucket, "precision": "ns"}
    headers = {"User-Agent": f"influxdb-client-python/{version.VERSION}"}
    if settings.token:
        headers["Authorization"] = f"Token {settings.token.get_secret_value()}"
    return _post(settings, pool, f"{server}/api/v2/write", query, headers), pool.clear


@cache
def _client() -> list[ModuleType]:
    """What of influxdb-client makes a connection; all of it would take 12 MB."""
    name = "influxdb_client"
    parts = [f"{name}.configuration", f"{name}._sync.rest", f"{name}.version"]
    return parts_of([name, f"{name}.client"], parts)


def _version_1(settings: InfluxdbSettings, server: str) -> tuple[Post, Callable[[], None]]:
    import urllib3

    query = {"db": settings.database, "rp": settings.retention_policy, "precision": "ns"}
    headers: dict[str, str] = {}
    if settings.username:
        password = settings.password.get_secret_value() if settings.password else ""
        headers |= urllib3.make_headers(basic_auth=f"{settings.username}:{password}")
    pool = urllib3.PoolManager(
        maxsize=1,
        retries=False,
        cert_reqs="CERT_REQUIRED" if settings.verify else "CERT_NONE",
        ca_certs=settings.ca_file,
    )
    return _post(settings, pool, f"{server}/write", query, headers), pool.clear


def _post(
    settings: InfluxdbSettings,
    pool: "urllib3.PoolManager",
    where: str,
    query: Mapping[str, str | None],
    headers: Mapping[str, str],
) -> Post:
    headers = {**headers, "Content-Type": "text/plain; charset=utf-8"}
    return posting(pool, where, query, headers, settings.timeout, settings.gzip)


def _fitting(lines: Sequence[str], chosen: Sequence[int], most: int) -> int:
    """How many of the chosen lines go into a body of at most `most` bytes; at least one."""
    if len(chosen) + 4 * sum(map(len, lines)) <= most:  # a character has at most four bytes
        return len(chosen)
    size = 0
    for count, index in enumerate(chosen):
        line = lines[index]
        size += 1 + (len(line) if line.isascii() else len(line.encode()))
        if size > most and count:
            return count
    return len(chosen)
