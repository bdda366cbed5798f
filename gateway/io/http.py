"""What answers of HTTP servers mean for a sink, in the terms of gateway.core.errors."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from gateway.core.errors import BerrygateError, Denied, Throttled, Unavailable

_ADDRESS = re.compile(r"^.*?object at 0x[0-9a-f]+>:?\s*|^HTTPS?ConnectionPool\(.*?\):\s*")
_PEER = re.compile(r"^HTTPS?Connection\(host='([^']*)', port=(\d+)\):\s*")
_LATE = re.compile(r"^Read timed out\. \(read timeout=([\d.]+)\)")
_NUMBER = re.compile(r"\[Errno -?\d+\] ")
_MOST_PAUSE = 3_600.0  # a server's Retry-After is believed up to this (s)
_CONTENT = (400, 413, 422)  # the request's content is to blame; what follows is the driver's matter


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. headers: names in lower case."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def is_page(self) -> bool:
        """Whether this is a page for people: then it is not the server that was meant, but a
        portal, a proxy, or another program on its port."""
        return self.headers.get("content-type", "").startswith("text/html")


def make_answer(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """An Answer of what came. Raises Unavailable for one that is no text: content must not be
    blamed for what another program says on the server's port."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Unavailable("the answer is not UTF-8: no such server is there") from error
    return Answer(status, text, {name.lower(): value for name, value in headers.items()})


def failure(answer: Answer, message: str) -> BerrygateError | None:
    """What an answer's status means (RFC 9110, section 15); None where the request's content is
    to blame (400, 413, 422). message: what the server said, for people.

    Content is never to blame for what a person or time can put right: it would be lost.
    """
    status = answer.status
    if answer.is_page:
        return Denied(
            f"a web page answers (HTTP {status}), not the server that was meant",
            fix="correct the bridge's url",
        )
    if status in _CONTENT:
        return None
    if 300 <= status < 400:
        return Denied(f"the server redirects (HTTP {status})", fix="give the final url")
    if status in (401, 403):
        return Denied(message, fix="give the bridge credentials that may write there")
    if status in (429, 503):
        return Throttled(message, after=retry_after(answer.headers))
    if status >= 500 or status in (408, 425):
        return Unavailable(message)
    return Denied(message)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from a number or a date (RFC 9110 section 10.2.3); 1 where there is none."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _MOST_PAUSE)
    try:
        when = parsedate_to_datetime(value)
        seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time()
    except (TypeError, ValueError, IndexError):
        return 1.0
    return min(max(seconds, 0.0), _MOST_PAUSE)


def network_failure(error: Exception) -> BerrygateError:
    """A failure on the way to the server, with the server's address for the object that urllib3
    puts in front. A certificate that does not hold needs a person."""
    text = _PEER.sub(r"\1:\2: ", _ADDRESS.sub("", str(error)).strip())
    text = _LATE.sub(lambda late: f"no answer within {float(late[1]):.0f} s", text)
    text = _NUMBER.sub("", text)
    if "certificate" in text.lower() and "verify failed" in text.lower():
        return Denied(text, fix="set ca_file to the certificates that vouch for the server")
    return Unavailable(text)
