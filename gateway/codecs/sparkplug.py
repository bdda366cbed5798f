"""Sparkplug B (Eclipse Sparkplug 3.0.0) as a host application hears it.

Topics are `spBv1.0/<group>/<message>/<edge node>[/<device>]`. Births tell metrics with their values
and aliases; data by alias are understood after that. `/` in a metric's name becomes `.`. Metrics of
one time are one reading. `online` is true with a birth and false with a death; of a node's death
only the node itself says so. `bdSeq`, `Node Control/…` and `Device Control/…` are no metrics.
Templates flatten with dots; data sets, files, bytes and arrays are left out. `engUnit` is a
metric's unit.

A message that is missing, an alias that no birth has told, or an integer whose type is in no birth,
asks for a rebirth: see `ask`. Data leave the type out, and 4294967291 is -5 if it is an Int32.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from gateway.codecs.reports import MAX_METRICS, MAX_NAME, Report, representable, value_of
from gateway.codecs.reports import metric_name as checked
from gateway.codecs.sparkplug_nodes import Born, Node, Nodes
from gateway.codecs.sparkplug_payload import Payload, parse
from gateway.codecs.units import Units
from gateway.core.contracts import HostState, Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings

log = logging.getLogger(__name__)

_NAMESPACE = "spBv1.0"
_NODE = ("NBIRTH", "NDATA", "NDEATH", "NCMD")
_DEVICE = ("DBIRTH", "DDATA", "DDEATH", "DCMD")
_OF_HOSTS = ("NCMD", "DCMD", "STATE")
_BITS = {1: 8, 2: 16, 3: 32, 4: 64}  # Int8 … Int64, which come as unsigned numbers
_BOOLEAN = 11
_NUMBERS = ("int_value", "long_value")
_PLAIN = ("float_value", "double_value", "boolean_value", "string_value")
_NOT_OURS = ("Node Control/", "Device Control/")
_SESSION = "bdSeq"
_DEEPEST = 8  # templates in templates
_MOST = 5_000  # metrics in a payload
_AGAIN = 60.0  # s between two requests to one node
_REBIRTH = "Node Control/Rebirth"

Named = tuple[str, int | None, dict[str, Value]]
Told = tuple[Born, int | None]


class SparkplugSettings(CodecSettings):
    """Sparkplug B. The source needs topics: ["spBv1.0/+/+/+/#"] and device: "{1}/{3}/{4}"."""

    type: Literal["sparkplug"] = "sparkplug"
    """Which codec."""
    host: Annotated[str, Field(pattern=r"^[^/+#\x00]{1,64}$")] | None = None
    """Our id as a host application. If given, edge nodes that have it as their primary host are
    told on `spBv1.0/STATE/<host>` whether we hear them."""

    def host_state(self) -> HostState | None:
        """See CodecSettings."""
        if self.host is None:
            return None
        return HostState(f"{_NAMESPACE}/STATE/{self.host}", _state)

    def build(self) -> "SparkplugCodec":
        """The codec, for one source."""
        return SparkplugCodec()


class _Address(NamedTuple):
    """What a topic says."""

    group: str
    kind: str
    edge: str
    device: str


class SparkplugCodec:
    """See the module.

    ask: publishes what is asked of an edge node (topic, payload); None: nothing can be asked.
    """

    def __init__(self) -> None:
        self.ask: Callable[[str, bytes], None] | None = None
        self.nodes = Nodes()
        self._units = Units()
        self._asked: dict[tuple[str, str], float] = {}

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        return self._units.of(device)

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """Nothing: without its topic a payload has no meaning. Raises DecodeError."""
        raise DecodeError(
            "Sparkplug B without its topic", reason="topic", fix="use it with a source of type mqtt"
        )

    def addressed(self, topic: str, device: str, payload: bytes, received: int) -> Iterable[Named]:
        """See gateway.core.contracts.Addressed. Raises DecodeError with reason topic, malformed,
        alias, datatype, metric, time or too_many."""
        address = _address(topic)
        if address.kind in _OF_HOSTS:
            return ()
        message = parse(payload)
        if len(message.metrics) > _MOST:
            raise DecodeError(f"more than {_MOST} metrics in one payload", reason="too_many")
        node = self.nodes.of(address.group, address.edge)
        if not self._in_order(node, address, message, received):
            return ()
        if address.kind.endswith("DEATH"):
            return (("", _time(message.timestamp), {"online": False}),)
        return self._readings(node, address, device, message)

    # -- the state of nodes -------------------------------------------------------------------

    def _in_order(self, node: Node, address: _Address, message: Any, received: int) -> bool:
        """Note what the message says of its node; False if it is of an earlier session."""
        again = received < node.heard  # a dead letter that is tried again: it has had its turn
        node.heard = max(node.heard, received)
        if address.kind == "NBIRTH":
            self.nodes.born(node, message.seq % 256, _session(message))
        elif address.kind == "NDEATH":
            return self.nodes.dies(node, _session(message))
        elif not again and message.HasField("seq") and not node.follows(message.seq % 256):
            missing = "messages of it are missing" if node.online else "its birth was not seen"
            self._want_rebirth(node, address, missing)
        return True

    def _want_rebirth(self, node: Node, address: _Address, why: str) -> None:
        key, now = (address.group, address.edge), time.monotonic()
        if now - self._asked.get(key, -_AGAIN) < _AGAIN:
            return
        self._asked[key] = now
        # After a start no birth was seen of anybody, which is as it should be.
        level = logging.WARNING if node.online else logging.DEBUG
        also = "; asking for a rebirth" if self.ask else ""
        log.log(level, "sparkplug node %s/%s: %s%s", *key, why, also)
        if self.ask is not None:
            self.ask(*rebirth_request(*key))

    # -- values -------------------------------------------------------------------------------

    def _readings(self, node: Node, address: _Address, device: str, message: Any) -> list[Named]:
        birth = address.kind.endswith("BIRTH")
        if birth:
            self.nodes.told(node, address.device, _told(message.metrics))
        found = _Found(node.types.get(address.device, {}))
        if birth:
            found.put(_time(message.timestamp), "online", True)
        for metric in message.metrics:
            name = metric.name or self._known(node, address, metric)
            if name == _SESSION or name.startswith(_NOT_OURS):
                continue
            when = _time(metric.timestamp or message.timestamp)
            try:
                found.take(when, name, metric)
            except _Untyped as error:
                raise self._unborn(node, address, f'"{error}"', "datatype") from None
            if birth and metric.HasField("properties"):
                self._learn_unit(device, name.replace("/", "."), metric.properties)
        return [("", when, values) for when, values in found.reports]

    def _known(self, node: Node, address: _Address, metric: Any) -> str:
        """The name of a metric that is told by its alias."""
        born = node.aliases.get(address.device, {}).get(metric.alias)
        if born is None or not metric.HasField("alias"):
            raise self._unborn(node, address, f"alias {metric.alias}", "alias")
        return born.name

    def _unborn(self, node: Node, address: _Address, what: str, reason: str) -> DecodeError:
        """A rebirth is asked for; what is wrong meanwhile."""
        known = "aliases" if reason == "alias" else "types"
        self._want_rebirth(node, address, f"its {known} are not known")
        return DecodeError(
            f"{what} is in no birth of {address.edge}/{address.device}",
            reason=reason,
            fix="let the edge node be born again, then retry the dead letters",
        )

    def _learn_unit(self, device: str, metric: str, properties: Any) -> None:
        for key, value in zip(properties.keys, properties.values, strict=False):
            if key == "engUnit":
                self._units.learn(device, metric, value.string_value)


class _Untyped(Exception):
    """An integer of a metric, which it names, that no birth has told."""


class _Found:
    """Readings by time. types: Sparkplug's numbers, by metrics that a birth has told."""

    def __init__(self, types: Mapping[str, int]) -> None:
        self._types = types
        self.reports: list[Report] = []
        self._by_time: dict[int | None, dict[str, Value]] = {}

    def put(self, when: int | None, name: str, value: Value) -> None:
        """A value. A metric twice at one time is two readings."""
        values = self._by_time.get(when)
        if values is None or (name in values and name != "online"):
            values = self._by_time[when] = {}
            self.reports.append((when, values))
        if len(values) >= MAX_METRICS:
            raise DecodeError(f"more than {MAX_METRICS} metrics in one reading", reason="too_many")
        values[name] = value

    def take(self, when: int | None, name: str, metric: Any, depth: int = 0) -> None:
        """A metric's value, or those of the template it is. Raises _Untyped."""
        kind = metric.WhichOneof("value")
        if metric.is_null or kind is None:
            return
        if kind == "template_value":
            if depth >= _DEEPEST:
                raise DecodeError(f"templates deeper than {_DEEPEST}", reason="too_deep")
            if not metric.template_value.is_definition:
                for part in metric.template_value.metrics:
                    self.take(when, f"{name}/{part.name}", part, depth + 1)
            return
        if kind in _NUMBERS and not metric.datatype and name not in self._types:
            raise _Untyped(name)
        datatype = metric.datatype or self._types.get(name, 0)
        value, plain = _value(getattr(metric, kind), kind, datatype), name.replace("/", ".")
        if value is not None and value == value:
            self.put(when, checked(plain), value_of(plain, value))


def _value(given: Any, kind: str, datatype: int) -> Any:
    """A metric's value; None for what is none."""
    if kind in _PLAIN:
        return given
    if kind not in _NUMBERS:
        return None
    if datatype == _BOOLEAN:
        return bool(given)
    bits = _BITS.get(datatype)
    if bits is None:
        return given
    given &= (1 << bits) - 1
    return given - (1 << bits) if given >> (bits - 1) else given


def _address(topic: str) -> _Address:
    """Raises DecodeError with reason topic."""
    match topic.split("/"):
        case [space, group, kind, edge] if space == _NAMESPACE and kind in _NODE:
            return _Address(group, kind, edge, "")
        case [space, group, kind, edge, device] if space == _NAMESPACE and kind in _DEVICE:
            return _Address(group, kind, edge, device)
        case [space, "STATE", host] if space == _NAMESPACE:
            return _Address("", "STATE", host, "")
    raise DecodeError(f'"{topic[:100]}" is no topic of Sparkplug B', reason="topic")


def _time(milliseconds: int) -> int | None:
    return representable(milliseconds * 1_000_000) if milliseconds else None


def _session(message: Any) -> int | None:
    """A birth's or death's bdSeq."""
    for metric in message.metrics:
        if metric.name == _SESSION:
            return int(metric.long_value or metric.int_value)
    return None


def _told(metrics: Iterable[Any], within: str = "", depth: int = 0) -> Iterator[Told]:
    """The metrics in a birth, and those in the templates among them: data leave out their types
    too."""
    for metric in metrics:
        alias = metric.alias if metric.HasField("alias") and not depth else None
        name = f"{within}{metric.name}"
        yield Born(name, metric.datatype), alias
        # A long name would be kept anew with each of its parts; its values are refused anyway.
        if depth < _DEEPEST and len(name) <= MAX_NAME and not metric.template_value.is_definition:
            yield from _told(metric.template_value.metrics, f"{name}/", depth + 1)


def _state(online: bool, since: int) -> bytes:
    return b'{"online":%s,"timestamp":%d}' % (b"true" if online else b"false", since)


def rebirth_request(group: str, edge: str) -> tuple[str, bytes]:
    """Topic and payload of the command that asks an edge node for its births again."""
    command = Payload(timestamp=time.time_ns() // 1_000_000)
    command.metrics.add(name=_REBIRTH, datatype=_BOOLEAN, boolean_value=True)
    return f"{_NAMESPACE}/{group}/NCMD/{edge}", command.SerializeToString()
