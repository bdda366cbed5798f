"""Homie 4 and 5 (homieiot.github.io): `homie/<device>/<node>/<property>`, and in version 5
`homie/5/<device>/…` with everything about the device in `$description`.

A metric is node and property, with a dot. Attributes, which are retained, tell names, units and
data types.
"""

from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import Told, kind, name, presence, text_of, texts, tree, value
from gateway.codecs.reports import value_of
from gateway.core.contracts import About, Value

_FAMILY = "Homie"
_MOST = 50_000  # properties whose data type is remembered
_NUMBERS = frozenset(("integer", "float", "percent"))
_SET = "set"


class Homie:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = ("homie/#",)

    def __init__(self, known: Known) -> None:
        self._known = known
        self._types: dict[tuple[str, str], str] = {}  # by device and metric

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        base, device, rest = _split(topic)
        if not base:
            return None
        return "" if not rest or device.startswith("$") or rest[-1] == _SET else device

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        base, device, rest = _split(topic)
        if not self.device_of(topic) or not payload:
            return ()
        about = self._known.of(device, _FAMILY)
        values: dict[str, Value] = {}
        if rest == ["$state"]:
            online = presence(text_of(payload))
            if online is not None:
                about.online = values["online"] = online
        elif rest == ["$description"]:
            self._described(about, base, device, tree(payload))
        elif rest[-1].startswith("$") or rest[0].startswith("$"):
            self._attribute(about, base, device, rest, payload)
        elif len(rest) == 2:
            self._value(values, about, device, name(*rest), text_of(payload))
        return [(device, None, values)] if values else ()

    def _value(
        self, values: dict[str, Value], about: About, device: str, metric: str, text: str
    ) -> None:
        datatype = self._types.get((device, metric), "")
        if datatype in _NUMBERS or not datatype:
            found = value(text)
            if datatype and not isinstance(found, float):
                return  # what is no number is no value of such a property
        elif datatype == "boolean":
            found = value(text)
        else:
            found = value_of(metric, text)
        if found != "":
            values[metric] = found

    def _attribute(
        self, about: About, base: str, device: str, rest: list[str], payload: bytes
    ) -> None:
        """Version 4: one topic for each attribute."""
        text, attribute = text_of(payload), rest[-1]
        if rest == ["$name"]:
            self._known.tell(about, name=text)
        elif rest in (["$fw", "version"], ["$implementation", "version"]):
            self._known.tell(about, firmware=text)
        elif rest in (["$fw", "name"], ["$implementation"]):
            self._known.tell(about, model=text)
        elif len(rest) == 3 and not rest[0].startswith("$"):
            self._property(about, base, device, rest[:2], {attribute[1:]: text})

    def _described(self, about: About, base: str, device: str, data: dict[str, Any]) -> None:
        """Version 5: everything at once."""
        self._known.tell(about, name=texts(data, "name"), model=texts(data, "type"))
        nodes = data.get("nodes")
        for node, each in nodes.items() if isinstance(nodes, dict) else ():
            properties = each.get("properties") if isinstance(each, dict) else None
            for prop, said in properties.items() if isinstance(properties, dict) else ():
                if isinstance(said, dict) and node and prop:
                    self._property(about, base, device, [node, prop], said)

    def _property(
        self, about: About, base: str, device: str, path: list[str], said: dict[str, Any]
    ) -> None:
        metric = name(*path)
        if unit := texts(said, "unit"):
            self._known.measure(about, metric, unit, kind(path[1])[1])
        datatype = texts(said, "datatype")
        if datatype and ((device, metric) in self._types or len(self._types) < _MOST):
            self._types[device, metric] = datatype
        if said.get("settable") in (True, "true"):
            self._known.command(about, metric, f"{base}{device}/{'/'.join(path)}/{_SET}")


def _split(topic: str) -> tuple[str, str, list[str]]:
    """What comes before the device, the device, and what comes behind; "" for another topic."""
    match topic.split("/"):
        case ["homie", "5", device, *rest] if device:
            return "homie/5/", device, rest
        case ["homie", device, *rest] if device:
            return "homie/", device, rest
    return "", "", []
