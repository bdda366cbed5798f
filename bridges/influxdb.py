"""InfluxDB: 2 and 3 through influxdb-client, 1 through its /write."""

import asyncio
import importlib.util
import json
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from pydantic import Field, field_validator, model_validator

from gateway.codecs.line_protocol import LineEncoder, template_names
from gateway.core.contracts import Batch, Bridge, Context
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable
from gateway.core.settings import BridgeSettings, Duration, Secret, Settings
from gateway.io.blocking import Blocking

if TYPE_CHECKING:
    import urllib3

if importlib.util.find_spec("influxdb_client") is None:
    # Said when the configuration is read, not when the first batch is sent.
    raise ModuleNotFoundError("No module named 'influxdb_client'", name="influxdb_client")

_GZIP_LEVEL = 1  # 6 takes four times as long for a tenth less
_LINE_NUMBER = re.compile(r"\bline (\d+)\b")
_QUOTED_LINE = re.compile(r"unable to parse '(.*?)'(?::|$)", re.DOTALL)
_NOISE = re.compile(r"^.*?object at 0x[0-9a-f]+>:?\s*|^HTTPS?ConnectionPool\(.*?\):\s*")


class MappingSettings(Settings):
    """What a reading becomes."""

    measurement: str = "{device}"
    """Measurement; `{device}` is the device's id."""
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
        for template in value.values():
            template_names(template, ["device"])
        return value


class InfluxdbSettings(BridgeSettings):
    """An InfluxDB server, or what speaks like one (VictoriaMetrics)."""

    type: Literal["influxdb"] = "influxdb"
    """Which driver."""
    url: str = Field(pattern=r"^https?://[^/\s?#]+[^\s?#]*$")
    """Where the server is, such as http://influx.local:8086."""
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
        return self

    def build(self, name: str, context: Context) -> Bridge[Any]:
        """The driver."""
        return InfluxdbBridge(name, self)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to a write."""

    status: int
    text: str
    headers: Mapping[str, str]


Write = Callable[[bytes], Answer]
"""Writes a gzipped body; blocks."""


class InfluxdbBridge:
    """See the module."""

    def __init__(self, name: str, settings: InfluxdbSettings) -> None:
        self.name = name
        self._settings = settings
        mapping = settings.mapping
        self._encoder = LineEncoder(mapping.measurement, mapping.tags, mapping.fields)
        self._blocking = Blocking(f"influxdb-{name}")

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Write]:
        """A connection; checked by the first write. Raises Denied if a certificate cannot be
        read."""
        make = _version_1 if str(self._settings.version) == "1" else _version_2
        try:
            # In a thread: the first import of the client takes 200 ms.
            write, close = await asyncio.to_thread(make, self._settings)
        except (OSError, ssl.SSLError) as error:
            raise Denied(f"{self._settings.ca_file}: {error}") from error
        try:
            yield write
        finally:
            close()

    async def check(self, conn: Write) -> None:
        """A write of nothing: credentials, and that what is written to exists, are looked at
        before the server misses the points. Raises Unavailable or Denied."""
        answer = await self._blocking.call(lambda: conn(_gzip(b"")), self._settings.timeout + 1.0)
        if answer.status >= 300 and answer.status != 400:
            raise _error(answer, [])

    async def send(self, conn: Write, batch: Batch) -> None:
        """Write a batch. Raises Unavailable, Throttled, Denied or Rejected."""
        lines = self._encoder.lines(batch.readings)
        empty = [index for index, line in enumerate(lines) if not line]
        if len(empty) == len(lines):
            raise Rejected("no value that can be written", indices=empty)
        body = "\n".join(filter(None, lines)).encode()
        try:
            # Some time more than the client's own limit, which is the one that should be met.
            answer = await self._blocking.call(
                lambda: conn(_gzip(body)), self._settings.timeout + 1.0
            )
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._settings.timeout:g} s") from error
        if answer.status >= 300:
            raise _error(answer, lines)
        if empty:
            raise Rejected("no value that can be written", indices=empty)


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def _version_2(settings: InfluxdbSettings) -> tuple[Write, Callable[[], None]]:
    from influxdb_client import InfluxDBClient, WriteService
    from influxdb_client.rest import ApiException
    from urllib3.exceptions import HTTPError

    client = InfluxDBClient(
        settings.url.rstrip("/"),
        settings.token.get_secret_value() if settings.token else None,
        timeout=round(settings.timeout * 1000),
        org=settings.org,
        verify_ssl=settings.verify,
        ssl_ca_cert=settings.ca_file,
        retries=False,  # the retry stage does that; and a redirect must not carry the token away
    )
    service = WriteService(client.api_client)

    def write(body: bytes) -> Answer:
        try:
            service.post_write(
                settings.org, settings.bucket, body, content_encoding="gzip", precision="ns"
            )
        except ApiException as error:
            if not error.status:
                raise Unavailable(str(error.reason).strip()) from error
            return Answer(error.status, _text(error.body), dict(error.headers or {}))
        except HTTPError as error:
            raise Unavailable(_network(error)) from error
        return Answer(204, "", {})

    return write, client.close


def _version_1(settings: InfluxdbSettings) -> tuple[Write, Callable[[], None]]:
    import urllib3

    query = {"db": settings.database, "rp": settings.retention_policy, "precision": "ns"}
    url = f"{settings.url.rstrip('/')}/write?" + urlencode({k: v for k, v in query.items() if v})
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
    if settings.username:
        password = settings.password.get_secret_value() if settings.password else ""
        headers |= urllib3.make_headers(basic_auth=f"{settings.username}:{password}")
    pool = _pool(settings)

    def write(body: bytes) -> Answer:
        try:
            answer = pool.request("POST", url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(_network(error)) from error
        return Answer(answer.status, answer.data.decode(errors="replace"), dict(answer.headers))

    return write, pool.clear


def _pool(settings: InfluxdbSettings) -> "urllib3.PoolManager":
    import urllib3

    return urllib3.PoolManager(
        maxsize=1,
        timeout=urllib3.Timeout(total=settings.timeout),
        retries=False,
        cert_reqs="CERT_REQUIRED" if settings.verify else "CERT_NONE",
        ca_certs=settings.ca_file,
    )


def _network(error: Exception) -> str:
    """A network failure for people: without the object's address that urllib3 puts in front."""
    return re.sub(
        r"^.*?object at 0x[0-9a-f]+>:?\s*|^HTTPS?ConnectionPool\(.*?\):\s*", "", str(error)
    )


def _text(body: str | bytes | None) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body or ""


def _error(answer: Answer, lines: Sequence[str]) -> BerrygateError:
    """What an answer means, in our terms."""
    message = _message(answer.text) or f"HTTP {answer.status}"
    after = _retry_after({key.lower(): value for key, value in answer.headers.items()})
    if answer.status in (401, 403):
        return Denied(message, fix="give the bridge a token that may write to this bucket")
    if answer.status == 404:
        return Denied(message, fix="create the bucket or database, or correct its name")
    if 300 <= answer.status < 400:
        return Denied(f"the server redirects (HTTP {answer.status})", fix="give the final url")
    if answer.status in (429, 503):
        return Throttled(message, after=after)
    if answer.status >= 500:
        return Unavailable(message)
    if answer.status == 413:
        return Rejected(message)
    return Rejected(message, indices=_blamed(answer.text, message, lines))


def _blamed(text: str, message: str, lines: Sequence[str]) -> list[int] | None:
    """Which lines a server names as bad. None: it does not say, or nothing of the batch was
    taken; then the batch is bisected. Writing a good line again changes nothing, since a point is
    known by its measurement, tags and time."""
    if "partial write" not in text:
        return None  # everything was refused because of one line
    written = [index for index, line in enumerate(lines) if line]
    numbered = [
        int(entry["line_number"]) for entry in _entries(text) if "line_number" in entry
    ] or [int(number) for number in _LINE_NUMBER.findall(message)]
    if numbered:
        return [written[n - 1] for n in numbered if 0 < n <= len(written)] or None
    quoted = set(_QUOTED_LINE.findall(message))
    return [index for index in written if lines[index] in quoted] or None


def _entries(text: str) -> list[dict[str, Any]]:
    """InfluxDB 3 lists the lines of a partial write."""
    try:
        data = json.loads(text).get("data")
    except (ValueError, AttributeError):
        return []
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _message(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return text.strip()[:300]
    if not isinstance(answer, dict):
        return str(answer)[:300]
    return str(answer.get("message") or answer.get("error") or text)[:1000]


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from a number or a date (RFC 9110 section 10.2.3)."""
    value = headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 1.0
