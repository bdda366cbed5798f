"""thin-edge.io: `te/<entity>/m/<type>` and what goes with it; an entity has four levels, such as
`device/main//` or `device/child01/service/collector`.

A metric of a measurement is its type, if it has one, and its name, with dots. `status/health` tells
whether a service is up. Events and alarms are texts: `event.<type>`, `alarm.<type>`. Registrations
and `…/meta`, which are retained, tell names, types and units.
"""

from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import Told, flat, kind, name, presence, texts, tree
from gateway.codecs.reports import time_of, value_of
from gateway.core.contracts import About, Value

_FAMILY = "thin-edge"


class ThinEdge:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = (
        "te/+/+/+/+", "te/+/+/+/+/m/+", "te/+/+/+/+/m/+/meta", "te/+/+/+/+/e/+", "te/+/+/+/+/a/+",
        "te/+/+/+/+/status/health", "te/+/+/+/+/twin/+",
    )  # fmt: skip

    def __init__(self, known: Known) -> None:
        self._known = known

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        match topic.split("/"):
            case ["te", kind, device, part, service, *_] if device:
                if kind == "device" and not part:
                    return device
                return "/".join(each for each in (device, service) if each)
        return None

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        device = self.device_of(topic)
        if not device or not payload.strip():
            return ()
        data, about = tree(payload), self._known.of(device, _FAMILY)
        when: int | None = None
        values: dict[str, Value] = {}
        match topic.split("/")[5:]:
            case []:
                self._registered(about, device, data)
            case ["m", what]:
                when, values = self._measured(about, what, data)
            case ["m", what, "meta"]:
                self._units(about, what, data)
            case ["e" | "a" as sort, what]:
                when, values = _said("event" if sort == "e" else "alarm", what, data)
            case ["status", "health"]:
                when, values = self._health(about, data)
            case ["twin", what]:
                self._twin(about, what, data)
        return [(device, when, values)] if values else ()

    def _registered(self, about: About, device: str, data: dict[str, Any]) -> None:
        self._known.tell(about, name=texts(data, "name") or device, model=texts(data, "type"))

    def _measured(
        self, about: About, what: str, data: dict[str, Any]
    ) -> tuple[int | None, dict[str, Value]]:
        when, found = flat(data)
        values = {name(what, metric): given for metric, given in found.items()}
        for metric in values:
            if metric not in about.classes:
                self._known.measure(about, metric, "", kind(metric.rpartition(".")[2])[1])
        return when, values

    def _units(self, about: About, what: str, data: dict[str, Any]) -> None:
        for metric, said in data.items():
            if metric == "units" and isinstance(said, dict):  # as it was written at first
                for each, unit in said.items():
                    self._known.measure(about, name(what, each), unit)
            elif metric and isinstance(said, dict):
                self._known.measure(about, name(what, metric), texts(said, "unit"))

    def _health(self, about: About, data: dict[str, Any]) -> tuple[int | None, dict[str, Value]]:
        about.online = presence(texts(data, "status"))
        return _time(data), {} if about.online is None else {"online": about.online}

    def _twin(self, about: About, what: str, data: dict[str, Any]) -> None:
        if what.lower().endswith("hardware"):
            self._known.tell(about, model=texts(data, "model"), firmware=texts(data, "revision"))
        elif what.lower().endswith("firmware"):
            self._known.tell(about, firmware=texts(data, "version"))


def _said(sort: str, what: str, data: dict[str, Any]) -> tuple[int | None, dict[str, Value]]:
    text, severity = texts(data, "text"), texts(data, "severity")
    values: dict[str, Value] = {}
    if text:
        metric = name(sort, what)
        values[metric] = value_of(metric, text)
    if severity:
        values[name(sort, what, "severity")] = value_of("severity", severity)
    return _time(data), values


def _time(data: dict[str, Any]) -> int | None:
    given = data.get("time")
    return time_of(given) if given is not None else None
