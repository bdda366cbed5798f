"""SenML packs (RFC 8428), as JSON or CBOR, told apart by the first byte.

Base fields are resolved: names are put together, base times, values and sums added. Records of one
time are one reading; a record's sum is the metric `<name>.sum`. Times below 2**28 s are relative to
now, and 0 is now. Where a pack has one name in several units, as for the parts of a position, those
after the first have their unit behind the name. Data (`vd`) is base64url text as it is in JSON.
Update times (`ut`) say nothing about a value and are passed over, as are fields that nobody knows;
one whose name ends with `_` must be understood, so that it refuses the pack.

Limits: 10,000 records in a pack; as CBOR 32,768 bytes.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from gateway.codecs import cbor, json
from gateway.codecs.reports import MAX_REPORTS, Report, metric_name, representable, value_of
from gateway.codecs.units import Units
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

_VERSION = 10
_RELATIVE = 2**28  # s; RFC 8428, section 4.5.3
_LABELS: dict[int, str] = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")
_BASES = frozenset(("bn", "bt", "bu", "bv", "bs"))
_KINDS: dict[str, tuple[type, ...]] = {
    "bn": (str,), "n": (str,), "bu": (str,), "u": (str,), "vs": (str,), "vb": (bool,),
    "vd": (str, bytes), "bver": (int,),
    **dict.fromkeys(("bt", "t", "bv", "v", "bs", "s"), (int, float)),
}  # fmt: skip
_OTHER_VALUES = ("vs", "vb", "vd")


class SenmlSettings(CodecSettings):
    """SenML (RFC 8428), as JSON or CBOR."""

    type: Literal["senml"] = "senml"
    """Which codec."""
    names: Literal["resolved", "own"] = "resolved"
    """What metrics are called: by the whole name, base name and all; or by each record's own name,
    for packs with one base name that only tells the device."""

    def build(self) -> "SenmlCodec":
        """The codec, for one source."""
        return SenmlCodec(self)


class SenmlCodec:
    """See the module."""

    def __init__(self, settings: SenmlSettings) -> None:
        self._own = settings.names == "own"
        self._units = Units()

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        return self._units.of(device)

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """The readings in a pack. Raises DecodeError with reason malformed, record, version, empty,
        time, metric, too_deep or too_many."""
        pack = _Pack(received, self._own)
        for record in _records(payload):
            pack.take(record)
        if not pack.reports:
            raise DecodeError("no value in it", reason="empty")
        for metric, unit in pack.units.items():
            self._units.learn(device, metric, unit)
        return pack.reports


class _Pack:
    """A pack on its way to readings. own: metrics are called by their records' own names."""

    def __init__(self, received: int, own: bool) -> None:
        self.reports: list[Report] = []
        self.units: dict[str, str] = {}
        self._received = received
        self._own = own
        self._base: dict[str, Any] = {}
        self._by_time: dict[int | None, dict[str, Value]] = {}

    def take(self, record: Mapping[str, Any]) -> None:
        """The next record. Raises DecodeError."""
        base = self._base
        self._learn(record)
        value = _value(record, base.get("bv"))
        total = _sum(record.get("s"), base.get("bs"))
        if value is None and total is None:
            if "n" in record:
                raise DecodeError(f"{record['n'][:40]!r} has no value", reason="record")
            return  # base fields for those behind it
        name = self._name(record, record.get("u", base.get("bu", "")))
        time = self._time(base.get("bt", 0) + record.get("t", 0))
        if value is not None:
            self._put(time, name, value_of(name, value))
        if total is not None:
            self._put(time, metric_name(f"{name}.sum"), value_of(name, total))

    def _learn(self, record: Mapping[str, Any]) -> None:
        """Its base fields, which hold from here on."""
        for key in _BASES & record.keys():
            before = self._base.get(key, record[key])
            if self._own and key == "bn" and before != record[key]:
                message, fix = "a second base name in the pack", "use names: resolved"
                raise DecodeError(message, reason="metric", fix=fix)
            self._base[key] = record[key]

    def _name(self, record: Mapping[str, Any], unit: str) -> str:
        """The metric of a record in that unit."""
        own: str = record.get("n", "")
        whole = self._base.get("bn", "") + own
        if not _NAME.fullmatch(whole):
            raise DecodeError(f"bad name {whole[:40]!r}", reason="metric")
        name = metric_name((own or "value") if self._own else whole)
        if self.units.setdefault(name, unit) != unit:
            name = metric_name(f"{name}.{unit or 'none'}")
            self.units[name] = unit
        return name

    def _time(self, seconds: float) -> int | None:
        if not seconds:
            return None
        if seconds != seconds or abs(seconds) >= 1e11:
            raise DecodeError(f"time {seconds} is no time", reason="time")
        nanoseconds = round(seconds * 1e6) * 1_000  # a float has no more digits
        if seconds < _RELATIVE:
            nanoseconds = max(self._received + nanoseconds, 0)
        return representable(nanoseconds)

    def _put(self, time: int | None, name: str, value: Value) -> None:
        values = self._by_time.get(time)
        if values is None or name in values:
            values = self._by_time[time] = {}
            self.reports.append((time, values))
        values[name] = value


def _records(payload: bytes) -> list[dict[str, Any]]:
    """The records of a pack, checked each for itself. Raises DecodeError."""
    in_cbor = 0x80 <= payload[0] <= 0x9F if payload else False
    pack = cbor.parse(payload) if in_cbor else json.parse(payload)
    if not isinstance(pack, list):
        raise DecodeError("a pack is a list of records")
    if len(pack) > MAX_REPORTS:
        raise DecodeError(f"{len(pack)} records in a pack", reason="too_many")
    records = [_record(item, in_cbor) for item in pack]
    for record in records:
        if record.get("bver", _VERSION) > _VERSION:
            raise DecodeError(f"SenML version {record['bver']}", reason="version")
    return records


def _record(item: Any, in_cbor: bool) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise DecodeError(f"a record that is a {type(item).__name__}", reason="record")
    record: dict[str, Any] = {}
    for key, value in item.items():
        label: Any = _LABELS.get(key, key) if in_cbor and type(key) is int else key
        kinds = _KINDS.get(label)
        if kinds is not None:
            if type(value) not in kinds:
                raise DecodeError(f"{label} is a {type(value).__name__}", reason="record")
            record[label] = value
        elif isinstance(label, str) and label.endswith("_"):
            raise DecodeError(f"{label[:40]} must be understood", reason="version")
    return record


def _value(record: Mapping[str, Any], base: float | None) -> float | str | bool | None:
    """A record's value; None if it has none."""
    others = [key for key in _OTHER_VALUES if key in record]
    if len(others) + ("v" in record) > 1:
        raise DecodeError("a record with two values", reason="record")
    if not others:
        return _sum(record.get("v"), base)
    value = record[others[0]]
    if isinstance(value, bytes):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    return value  # type: ignore[no-any-return]


def _sum(value: float | None, base: float | None) -> float | None:
    """Of the two, where what is missing is 0; None if both are."""
    if value is None or base is None:
        return base if value is None else value
    return value + base
