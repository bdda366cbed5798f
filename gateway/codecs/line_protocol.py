"""Readings as InfluxDB line protocol, one line each.

Source: InfluxData, "Line protocol" reference (v2): measurement,tag=… field=… timestamp; its data
types' limits and its naming restrictions. What does not fit them is refused here with a reason:
the server would refuse it with the batch around it, or (a field `time`, a line that begins with
#) lose it without a word.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import isfinite
from operator import mod

import msgspec

from gateway.core.contracts import Flag, Reading, Value

_CACHE = 20_000
_NAMES = 200_000
_UNSYNCED = Flag.UNSYNCED.value
_numbers = msgspec.json.Encoder().encode
MOST_TEXT = 65_536
"""The longest text in a field (bytes)."""
_MOST_KEY = 65_535  # measurement, tags and one field's name together (bytes)
_KINDS = {float: "float", int: "integer", bool: "boolean", str: "string"}
_INTEGERS = range(-(2**63), 2**63)
_TIMES = range(-(2**63) + 2, 2**63 - 1)
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


class UnfitError(ValueError):
    """A reading cannot be written as a line."""


def reserved(name: str, underscore: bool) -> bool:
    """Whether a tag or field may not have this name; underscore: nor one that begins with _, as
    InfluxDB 2 and 3 keep those for themselves."""
    return not name or name == "time" or (underscore and name.startswith("_"))


_Forms = dict[tuple[str, int], str]
"""By device and mark: a line with a %s for each of its values and one for its time."""


class LineEncoder:
    """Encodes the readings of one bridge.

    measurement: template with {device}. tags: key -> template. fields: metric -> field name.
    underscore: names that begin with _ are reserved.
    """

    def __init__(
        self,
        measurement: str,
        tags: Mapping[str, str],
        fields: Mapping[str, str],
        underscore: bool = False,
    ) -> None:
        self._measurement = measurement
        self._tags = sorted(tags.items())  # sorted: InfluxDB takes them faster
        self._fields = fields
        self._underscore = underscore
        self._prefixes: dict[tuple[str, int], str] = {}
        self._keys: dict[str, str] = {}
        self._forms: dict[tuple[str, ...], _Forms] = {}
        self._known = 0  # names in all forms

    def lines(self, readings: Sequence[Reading]) -> tuple[list[str], dict[int, str]]:
        """A line for each reading, in order, "" for one that cannot be written; and for these
        why, by position. NaN and infinities are no values: they are left out of their line."""
        numbers = list(chain.from_iterable([reading.values.values() for reading in readings]))
        # A sum is finite only if each of its parts is.
        if set(map(type, numbers)) == {float} and isfinite(sum(numbers)):  # type: ignore[arg-type]
            try:
                return self._plain(readings, numbers), {}
            except UnfitError:
                pass  # which one it is, is found out one by one
        lines, unfit = [], {}
        for index, reading in enumerate(readings):
            try:
                lines.append(self._line(reading))
            except UnfitError as error:
                lines.append("")
                unfit[index] = str(error)
        return lines, unfit

    def _plain(self, readings: Sequence[Reading], numbers: Sequence[Value]) -> list[str]:
        """Lines of readings whose values are all finite floats: `numbers`, one after the other.
        Written together they cost a quarter. Raises UnfitError."""
        moments = [reading.time for reading in readings]
        if min(moments) not in _TIMES or max(moments) not in _TIMES:
            raise UnfitError("a time that InfluxDB cannot store")
        written, times = _written(numbers), _written(moments)
        shapes = [tuple(reading.values) for reading in readings]
        if shapes.count(shapes[0]) == len(shapes):
            return self._alike(shapes[0], readings, times, written)
        lines, place = [], 0
        for reading, time, names in zip(readings, times, shapes, strict=True):
            forms = self._forms_of(names)
            key = (reading.device, reading.flags & _UNSYNCED)
            form = forms.get(key) or self._form(forms, names, reading)
            stop = place + len(names)
            lines.append(form % (*written[place:stop], time))
            place = stop
        return lines

    def _alike(
        self,
        names: tuple[str, ...],
        readings: Sequence[Reading],
        times: Sequence[str],
        written: Sequence[str],
    ) -> list[str]:
        """Lines of readings with the same metrics: as nearly all are, and without a loop."""
        forms, width = self._forms_of(names), len(names)
        known = forms.get
        chosen = [
            known((reading.device, reading.flags & _UNSYNCED)) or self._form(forms, names, reading)
            for reading in readings
        ]
        columns = [written[place::width] for place in range(width)]
        return list(map(mod, chosen, zip(*columns, times, strict=True)))

    def _forms_of(self, names: tuple[str, ...]) -> _Forms:
        """What lines with these metrics look like, by device and mark. Raises UnfitError."""
        if not names:
            raise UnfitError("no value that can be written")
        return self._forms.setdefault(names, {})

    def _form(self, forms: _Forms, names: tuple[str, ...], reading: Reading) -> str:
        """What all lines of a device with these metrics have in common, with a %s for each value
        and one for the time. Raises UnfitError."""
        if self._known >= _NAMES:
            self._forms.clear()
            self._known = 0
        self._known += len(names)
        key = (reading.device, reading.flags & _UNSYNCED)
        prefix = self._prefixes.get(key) or self._prefix(*key)
        keys = [(self._keys.get(name) or self._key(name)).replace("%", "%%") for name in names]
        form = forms[key] = prefix.replace("%", "%%") + "%s,".join(keys) + "%s %s"
        return form

    def measurement_of(self, reading: Reading) -> str:
        """The name of its measurement, not escaped."""
        return self._measurement.format(device=reading.device)

    def kind_of(self, reading: Reading, field: str) -> str:
        """InfluxDB's type of the field with this name; "" if the reading has none."""
        for metric, value in reading.values.items():
            if self._fields.get(metric, metric) == field:
                return _KINDS[type(value)]
        return ""

    def _line(self, reading: Reading) -> str:
        marked = reading.flags & _UNSYNCED
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
                fields.append(key + _field(metric, value))
        if not fields:
            raise UnfitError("no value that can be written")
        if reading.time not in _TIMES:
            raise UnfitError(f"time {reading.time} is outside of what InfluxDB can store")
        return f"{prefix}{','.join(fields)} {reading.time}"

    def _prefix(self, device: str, marked: int) -> str:
        tags = [(key, template.format(device=device)) for key, template in self._tags]
        if marked:
            tags.append(("clock", "unsynced"))
        name = escape_measurement(self._measurement.format(device=device))
        written = [f"{escape_key(key)}={escape_key(value)}" for key, value in tags if value]
        prefix = ",".join([name, *written]) + " "
        if len(prefix.encode()) > _MOST_KEY // 2:
            raise UnfitError(f"measurement and tags are longer than {_MOST_KEY // 2} bytes")
        if len(self._prefixes) >= _CACHE:
            self._prefixes.clear()
        self._prefixes[device, marked] = prefix
        return prefix

    def _key(self, metric: str) -> str:
        if len(self._keys) >= _CACHE:
            self._keys.clear()
        name = self._fields.get(metric, metric)
        if reserved(name, self._underscore):
            raise UnfitError(f'"{name}" is reserved; give it another name with mapping.fields')
        key = escape_key(name) + "="
        if len(_utf8(metric, key)) > _MOST_KEY // 2:
            raise UnfitError(f"{metric[:50]}…: a name longer than {_MOST_KEY // 2} bytes")
        self._keys[metric] = key
        return key


def _written(numbers: Sequence[Value]) -> list[str]:
    """Numbers as they stand in a line; there is at least one."""
    return _numbers(numbers).decode()[1:-1].split(",")


def _field(metric: str, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if value not in _INTEGERS:
            raise UnfitError(f"{metric}: an integer of {value.bit_length()} bits does not fit 64")
        return f"{value}i"
    if isinstance(value, str):
        if len(value) * 4 > MOST_TEXT and len(value.encode(errors="replace")) > MOST_TEXT:
            raise UnfitError(f"{metric}: a text longer than {MOST_TEXT} bytes")
        if not value.isascii():
            _utf8(metric, value)
        return f'"{value.translate(_STRING)}"'
    return repr(value)


def _utf8(metric: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnfitError(f"{metric!a}: half a character (a lone surrogate)") from error


def template_names(template: str, allowed: Iterable[str]) -> None:
    """Raises ValueError if a template names something else than `allowed`."""
    names = dict.fromkeys(allowed, "x")
    format_map: Callable[[Mapping[str, str]], str] = template.format_map
    try:
        format_map(names)
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(f"{{{name}}}" for name in names)
        raise ValueError(f'template "{template}" may only name {known}') from error
