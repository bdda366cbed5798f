"""Readings as InfluxDB line protocol, one line each.

Source: InfluxData, "Line protocol" reference (v2): measurement,tag=… field=… timestamp.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite

from gateway.core.contracts import Flag, Reading, Value

_CACHE = 20_000
_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ ", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_KEY = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\=", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_STRING = str.maketrans({'"': '\\"', "\\": "\\\\"})


def escape_measurement(text: str) -> str:
    """A measurement's name, escaped."""
    return _end(text.translate(_MEASUREMENT))


def escape_key(text: str) -> str:
    """A tag's key or value or a field's key, escaped."""
    return _end(text.translate(_KEY))


def _end(text: str) -> str:
    # A backslash right before the separator would escape it; there is no escape for itself.
    return text + " " if text.endswith("\\") else text


class LineEncoder:
    """Encodes the readings of one bridge.

    measurement: template with {device}. tags: key -> template. fields: metric -> field name.
    """

    def __init__(
        self, measurement: str, tags: Mapping[str, str], fields: Mapping[str, str]
    ) -> None:
        self._measurement = measurement
        self._tags = sorted(tags.items())  # sorted: InfluxDB takes them faster
        self._fields = fields
        self._prefixes: dict[tuple[str, int], str] = {}
        self._keys: dict[str, str] = {}

    def lines(self, readings: Sequence[Reading]) -> list[str]:
        """A line for each reading, in order; "" for one that has no value to be written."""
        return [self._line(reading) for reading in readings]

    def _line(self, reading: Reading) -> str:
        marked = reading.flags & Flag.UNSYNCED.value
        prefix = self._prefixes.get((reading.device, marked))
        if prefix is None:
            prefix = self._prefix(reading.device, marked)
        keys = self._keys
        fields = []
        for metric, value in reading.values.items():
            key = keys.get(metric) or self._key(metric)
            if type(value) is float:
                if isfinite(value):
                    fields.append(f"{key}{value!r}")
            else:
                fields.append(key + _field(value))
        return f"{prefix}{','.join(fields)} {reading.time}" if fields else ""

    def _prefix(self, device: str, marked: int) -> str:
        tags = [(key, template.format(device=device)) for key, template in self._tags]
        if marked:
            tags.append(("clock", "unsynced"))
        name = escape_measurement(self._measurement.format(device=device))
        written = [f"{escape_key(key)}={escape_key(value)}" for key, value in tags if value]
        prefix = ",".join([name, *written]) + " "
        if len(self._prefixes) >= _CACHE:
            self._prefixes.clear()
        self._prefixes[device, marked] = prefix
        return prefix

    def _key(self, metric: str) -> str:
        if len(self._keys) >= _CACHE:
            self._keys.clear()
        key = self._keys[metric] = escape_key(self._fields.get(metric, metric)) + "="
        return key


def _field(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, str):
        return f'"{value.translate(_STRING)}"'
    return repr(value)


def template_names(template: str, allowed: Iterable[str]) -> None:
    """Raises ValueError if a template names something else than `allowed`."""
    names = dict.fromkeys(allowed, "x")
    format_map: Callable[[Mapping[str, str]], str] = template.format_map
    try:
        format_map(names)
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(f"{{{name}}}" for name in names)
        raise ValueError(f'template "{template}" may only name {known}') from error
