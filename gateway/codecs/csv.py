"""Comma-separated values (RFC 4180): each row is a reading, each column a metric.

The columns' names are in the configuration, or in the first row of each payload. A column without a
name is left out, as is an empty cell. Columns named time, ts or timestamp, or another that the
configuration says, are the reading's own time.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.codecs.cells import Cells, DecimalSign, Encoding, as_text
from gateway.codecs.reports import (
    MAX_METRICS,
    MAX_NODES,
    MAX_REPORTS,
    TIME_KEYS,
    Report,
    metric_name,
)
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings, wrong

_FIRST_TIME = TIME_KEYS[0]


class CsvSettings(CodecSettings):
    """CSV: each row is a reading."""

    type: Literal["csv"] = "csv"
    """Which codec."""
    columns: Annotated[tuple[str, ...], Field(max_length=MAX_METRICS)] | None = None
    """Names of the columns, `""` for one that is not wanted. If not given, the first row of each
    payload has them."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """What is between columns, such as `;`, or a tab, which YAML writes `"\\t"`."""
    skip: Annotated[int, Field(ge=0, le=1_000)] = 0
    """How many lines to pass over first."""
    time: str | None = None
    """The column with the reading's own time; time, ts or timestamp if not given."""
    decimal: DecimalSign = "."
    """Decimal sign of the numbers."""
    encoding: Encoding = "utf-8"
    """How the text is encoded."""

    @model_validator(mode="after")
    def _fitting(self) -> "CsvSettings":
        printable = self.delimiter == "\t" or self.delimiter.isprintable()
        if not printable or self.delimiter in "\"'":
            raise wrong("delimiter", "this cannot be between columns", "use , or ; or a tab")
        if self.decimal == self.delimiter:
            message = "columns are told apart by the decimal sign"
            raise wrong("decimal", message, 'add delimiter: ";"')
        if self.columns is not None:
            try:
                named(self.columns, self.time)
            except DecodeError as error:
                fix = "give each column a name of its own, and time: one of these"
                raise wrong("columns", str(error), fix) from error
        return self

    def build(self) -> "CsvCodec":
        """The codec, for one source."""
        return CsvCodec(self)


def named(columns: Iterable[str], time: str | None) -> list[str]:
    """The columns' metrics, "" for those that are not wanted. time: which one is the time.

    Raises DecodeError with reason metric, columns, too_many or empty.
    """
    names = [column.strip() for column in columns]
    if len(names) > MAX_METRICS:
        raise DecodeError(f"more than {MAX_METRICS} columns", reason="too_many")
    if time is not None:
        if time not in names:
            raise DecodeError(f"no column is named {time}", reason="columns")
        names = [_FIRST_TIME if name == time else name for name in names]
    wanted = [metric_name(name) for name in names if name]
    if len(set(wanted)) < len(wanted):
        twice = next(name for name in wanted if wanted.count(name) > 1)
        raise DecodeError(f"two columns are named {twice[:40]!r}", reason="metric")
    if not set(wanted) - set(TIME_KEYS):
        raise DecodeError("no column for a metric", reason="empty")
    return names


class _Layout:
    """Which columns are what. columns: see `named`."""

    def __init__(self, columns: list[str]) -> None:
        self.count = len(columns)
        self.times = [columns.index(key) for key in TIME_KEYS if key in columns]
        self.metrics = [
            (place, name) for place, name in enumerate(columns) if name and place not in self.times
        ]


class CsvCodec:
    """See the module."""

    def __init__(self, settings: CsvSettings) -> None:
        self._settings = settings
        self._layout = None
        if settings.columns is not None:
            self._layout = _Layout(named(settings.columns, settings.time))
        self._cells = Cells(settings.decimal)

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The reports in `payload`. Raises DecodeError with reason malformed, columns, empty, time,
        metric or too_many."""
        if payload.count(b"\n") > 2 * MAX_REPORTS:
            raise DecodeError("too many lines in one payload", reason="too_many")
        text = as_text(payload, self._settings.encoding)
        for _ in range(self._settings.skip):
            text = text.partition("\n")[2]
        lines = io.StringIO(text, newline="")
        rows = csv.reader(lines, delimiter=self._settings.delimiter, strict=True)
        try:
            return self._reports(rows)
        except csv.Error as error:
            raise DecodeError(f"not CSV: {error}") from error

    def _reports(self, rows: Iterator[list[str]]) -> list[Report]:
        layout = self._layout
        found: list[Report] = []
        left = MAX_NODES
        for row in rows:
            if not any(row):  # an empty line, or the end of a table that was padded
                continue
            left -= len(row)
            if left < 0 or len(found) >= MAX_REPORTS:
                raise DecodeError("too many values in one payload", reason="too_many")
            if layout is None:
                layout = _Layout(named(row, self._settings.time))
            elif len(row) != layout.count:
                raise DecodeError(
                    f"{len(row)} columns where {layout.count} should be: {','.join(row)[:60]!r}",
                    reason="columns",
                )
            else:
                times = [row[place] for place in layout.times]
                metrics = [(name, row[place]) for place, name in layout.metrics]
                found.append(self._cells.report(times, metrics))
        found = [report for report in found if report[1]]
        if not found:
            raise DecodeError("no metric in it", reason="empty")
        return found
