"""Text: what the named groups of a regular expression find are metrics.

`W:(?P<weight>[\\d.]+)` makes `weight` of `ST,GS,W:12.5kg`. Groups named time, ts or timestamp are
the report's own time. A group that took no part, or found nothing, is left out.

The expressions are those of Python, run by the `regex` module and not by `re`, for it can be told
how long a search may take: an expression that tries everything twice must not stop the gateway.
"""

import time
from collections.abc import Iterable
from typing import Annotated, Literal

import regex
from pydantic import Field, field_validator

from gateway.codecs.cells import Cells, DecimalSign, Encoding, as_text
from gateway.codecs.reports import MAX_METRICS, TIME_KEYS, Report, metric_name
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings, wrong

MAX_PAYLOAD = 16_384
"""The longest payload (bytes)."""
MAX_LINES = 1_000
_PATIENCE = 0.01  # CPU time that a payload may take (s): a hundred times what it should


class TextSettings(CodecSettings):
    """Text: what the named groups of a regular expression find."""

    type: Literal["text"] = "text"
    """Which codec."""
    pattern: Annotated[str, Field(min_length=1, max_length=2_000)]
    """Regular expression; `(?P<weight>[0-9.]+)` is the metric `weight`. It is looked for anywhere
    in the text. In YAML write it in single quotes, so that backslashes stay what they are."""
    lines: bool = False
    """Each line is a reading of its own. A line that matches without any named group is passed
    over; one that does not match refuses the whole payload."""
    decimal: DecimalSign = "."
    """Decimal sign of the numbers."""
    encoding: Encoding = "utf-8"
    """How the text is encoded."""

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        groups = compiled(value).groupindex
        if not set(groups) - set(TIME_KEYS):
            message = "no named group in it that could be a metric"
            raise wrong("pattern", message, "name what is wanted: (?P<weight>[0-9.]+)")
        if len(groups) > MAX_METRICS:
            raise ValueError(f"more than {MAX_METRICS} named groups")
        for name in groups:
            try:
                metric_name(name)
            except DecodeError as error:
                raise ValueError(str(error)) from error
        return value

    def build(self) -> "TextCodec":
        """The codec, for one source."""
        return TextCodec(self)


def compiled(pattern: str) -> "regex.Pattern[str]":
    """The expression. Raises ValueError."""
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"not a regular expression: {error}") from error


class TextCodec:
    """See the module."""

    def __init__(self, settings: TextSettings) -> None:
        self._pattern = compiled(settings.pattern)
        self._lines = settings.lines
        self._encoding = settings.encoding
        self._cells = Cells(settings.decimal)

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The reports in `payload`. Raises DecodeError with reason malformed, no_match, empty,
        time, metric, too_long, too_many or too_slow."""
        if len(payload) > MAX_PAYLOAD:
            raise DecodeError(f"more than {MAX_PAYLOAD} bytes of text", reason="too_long")
        text = as_text(payload, self._encoding)
        lines = [line for line in text.splitlines() if line.strip()] if self._lines else [text]
        if len(lines) > MAX_LINES:
            raise DecodeError(f"more than {MAX_LINES} lines in one payload", reason="too_many")
        until = time.thread_time() + _PATIENCE
        reports = [self._report(line, until) for line in lines]
        found = [report for report in reports if report[1]]
        if not found:
            raise DecodeError("no metric in it", reason="empty")
        return found

    def _report(self, line: str, until: float) -> Report:
        left = until - time.thread_time()
        try:
            # The time counted is the CPU's: a machine that is busy refuses nothing.
            match = self._pattern.search(line, timeout=left) if left > 0 else None
        except TimeoutError:
            left, match = 0, None
        if left <= 0:
            raise DecodeError(
                f"the pattern takes more than {_PATIENCE * 1000:.0f} ms with this",
                reason="too_slow",
                fix="take out repeats inside of repeats, such as (a+)+",
            )
        if match is None:
            raise DecodeError(f"the pattern is not in {line[:60]!r}", reason="no_match")
        groups = {name: part for name, part in match.groupdict().items() if part is not None}
        times = [groups.pop(key) for key in TIME_KEYS if key in groups]
        return self._cells.report(times, groups.items())
