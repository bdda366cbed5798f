"""How exported history is written: CSV, JSON, InfluxDB line protocol.

CSV: RFC 4180 with a line feed at the end of a line, one row for each value, texts in quotes.
JSON: newline-delimited, one object for each report. Line protocol: one line for each report, the
device as its measurement, times in ns.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from gateway.codecs.line_protocol import LineEncoder
from gateway.core.contracts import Reading
from gateway.store.chunks import Samples, Times

Form = Literal["csv", "json", "line"]
Moments = Literal["iso", "ms"]
_MS = 1_000_000


class Writer(Protocol):
    """Writes reports. media_type, suffix: of what it writes; head: what comes before everything;
    unfit: reports that cannot be written so, and why the first of them cannot."""

    media_type: str
    suffix: str
    head: bytes
    unfit: int
    why: str

    def write(self, device: str, metrics: Sequence[str], samples: Samples) -> tuple[bytes, int]:
        """Samples of one device's metrics as bytes, and how many lines they are."""
        ...

    def note(self, text: str) -> bytes:
        """A remark for people at the end; nothing where there is no place for one."""
        ...


def iso(times: Times) -> list[str]:
    """ISO 8601 in UTC with as many digits as each time needs: ms, us or ns."""
    whole = np.datetime_as_string(times.astype("M8[ns]"), unit="ns").tolist()
    return [
        f"{text[:23] if time % _MS == 0 else text[:26] if time % 1_000 == 0 else text}Z"
        for text, time in zip(whole, times.tolist(), strict=True)
    ]


def milliseconds(times: Times) -> list[int]:
    """Epoch ms."""
    found: list[int] = (times // _MS).tolist()
    return found


def _rows(samples: Samples) -> "zip[tuple[Any, ...]]":
    columns = [c.tolist() if isinstance(c, np.ndarray) else c for c in samples.columns]
    return zip(*columns, strict=True)


class CsvWriter:
    """See the module."""

    media_type = "text/csv; charset=utf-8; header=present"
    suffix = "csv"
    head = b"time,device,metric,value\n"
    unfit = 0
    why = ""

    def __init__(self, moments: Moments) -> None:
        self._moments: Callable[[Times], Sequence[Any]] = iso if moments == "iso" else milliseconds

    def write(self, device: str, metrics: Sequence[str], samples: Samples) -> tuple[bytes, int]:
        """See Writer."""
        names = [f",{device},{_quoted(metric)}," for metric in metrics]
        lines = [
            f"{time}{name}{_value(value)}\n"
            for time, row in zip(self._moments(samples.times), _rows(samples), strict=True)
            for name, value in zip(names, row, strict=True)
        ]
        return "".join(lines).encode(errors="replace"), len(lines)

    def note(self, text: str) -> bytes:
        """RFC 4180 knows no comments."""
        return b""


def _quoted(name: str) -> str:
    if any(character in name for character in ',"\r\n'):
        return '"' + name.replace('"', '""') + '"'
    return name


def _value(value: Any) -> str:
    if type(value) is float:
        return repr(value)
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class JsonWriter:
    """See the module. NaN and infinities become null."""

    media_type = "application/x-ndjson"
    suffix = "ndjson"
    head = b""
    unfit = 0
    why = ""

    def __init__(self, moments: Moments) -> None:
        self._moments: Callable[[Times], Sequence[Any]] = iso if moments == "iso" else milliseconds
        self._encoder = msgspec.json.Encoder()

    def write(self, device: str, metrics: Sequence[str], samples: Samples) -> tuple[bytes, int]:
        """See Writer."""
        reports = [
            {"time": time, "device": device, "values": dict(zip(metrics, row, strict=True))}
            for time, row in zip(self._moments(samples.times), _rows(samples), strict=True)
        ]
        return self._encoder.encode_lines(reports), len(reports)

    def note(self, text: str) -> bytes:
        """An object without a device."""
        return self._encoder.encode({"note": text}) + b"\n"


class LineWriter:
    """See the module."""

    media_type = "text/plain; charset=utf-8"
    suffix = "lp"
    head = b""

    def __init__(self) -> None:
        self.unfit = 0
        self.why = ""
        self._encoder = LineEncoder("{device}", {}, {})

    def write(self, device: str, metrics: Sequence[str], samples: Samples) -> tuple[bytes, int]:
        """See Writer."""
        readings = [
            Reading(device, time, dict(zip(metrics, row, strict=True)))
            for time, row in zip(samples.times.tolist(), _rows(samples), strict=True)
        ]
        lines, unfit = self._encoder.lines(readings)
        if unfit:
            self.unfit += len(unfit)
            self.why = self.why or next(iter(unfit.values()))
            lines = [line for line in lines if line]
        return "".join(f"{line}\n" for line in lines).encode(), len(lines)

    def note(self, text: str) -> bytes:
        """A comment."""
        return f"# {text}\n".encode()


def writer(form: Form, moments: Moments) -> Writer:
    """What writes `form`."""
    if form == "line":
        return LineWriter()
    return CsvWriter(moments) if form == "csv" else JsonWriter(moments)
