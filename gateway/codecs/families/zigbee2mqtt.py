"""Zigbee2MQTT (zigbee2mqtt.io): `zigbee2mqtt/<friendly name>`, `…/availability`,
`zigbee2mqtt/bridge/devices`.

`bridge/devices`, which is retained, tells models, units, which texts mean true and false, and what
can be set. Before it came, units go by well-known names.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.codecs.families.known import Known, Words
from gateway.codecs.families.parts import (
    Told,
    flat,
    kind,
    objects,
    presence,
    pruned,
    text_of,
    texts,
    tree,
    value,
)
from gateway.codecs.json import parse
from gateway.core.contracts import About, Value
from gateway.core.errors import DecodeError

_FAMILY = "Zigbee2MQTT"
_BASE = "zigbee2mqtt/"
_BRIDGE = "bridge/"
_OF_OTHERS = ("/set", "/get")
_DROP = frozenset((
    "last_seen", "update", "update_available", "device", "elapsed", "time", "ts", "timestamp",
))  # fmt: skip
_MOST_DEVICES = 2_000  # of one bridge
_MOST_EXPOSES = 20_000  # of all of them
_DEEPEST = 6
_ACCESS_SET = 2


class Zigbee2Mqtt:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = (f"{_BASE}#",)

    def __init__(self, known: Known) -> None:
        self._known = known
        self._words: dict[str, dict[str, dict[str, bool]]] = {}  # by device, property, text

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        if not topic.startswith(_BASE):
            return None
        rest = topic[len(_BASE) :]
        if not rest:
            return None
        if rest.startswith(_BRIDGE) or rest.endswith(_OF_OTHERS) or "/set/" in rest:
            return ""
        return self._split(rest)[0]

    def _split(self, rest: str) -> tuple[str, str]:
        """The device's name, which may have slashes, and what of it: "", `availability`, or one
        property (`output: attribute`)."""
        first, _, last = rest.rpartition("/")
        if first and (last == "availability" or (first in self._words and rest not in self._words)):
            return first, last
        return rest, ""

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        rest = topic[len(_BASE) :]
        if rest.startswith(_BRIDGE) or self.device_of(topic) == "":
            if rest == "bridge/devices" and payload:
                self._announced(payload)
            return ()
        device, what = self._split(rest)
        if not payload:
            return ()
        about = self._known.of(device, _FAMILY)
        if what == "availability":
            values = _availability(about, payload)
        elif what:
            values = self._values(about, device, {what: value(text_of(payload))})
        elif payload.lstrip().startswith(b"{"):
            values = self._values(about, device, tree(payload))
        else:
            raise DecodeError("not a JSON object")
        return [(device, None, values)] if values else ()

    def _values(self, about: About, device: str, data: dict[str, Any]) -> dict[str, Value]:
        model = data.get("device")
        if isinstance(model, dict) and not about.model:
            self._known.tell(about, model=texts(model, "model"))
        _, values = flat(pruned(data, _DROP))
        words = self._words.get(device, {})
        for metric, given in values.items():
            if isinstance(given, str):
                known = words.get(metric) or (_ON_OFF if _STATE.fullmatch(metric) else {})
                values[metric] = known.get(given, given)
            elif metric not in words and metric not in about.units and metric != "voltage":
                # A battery's voltage is in mV, a plug's in V: nobody knows before it is told.
                self._known.measure(about, metric, *kind(metric))
        return values

    # -- bridge/devices ------------------------------------------------------------------------

    def _announced(self, payload: bytes) -> None:
        left = _MOST_EXPOSES
        self._words = {}  # the list has all devices there are
        for each in objects(parse(payload), _MOST_DEVICES):
            device = texts(each, "friendly_name")
            if not device or texts(each, "type") == "Coordinator":
                continue
            about = self._known.of(device, _FAMILY)
            definition = each.get("definition")
            self._known.tell(
                about,
                name=device,
                model=texts(definition, "model") or texts(each, "model_id"),
                manufacturer=texts(definition, "vendor") or texts(each, "manufacturer"),
                firmware=texts(each, "software_build_id"),
            )
            words = self._words[device] = {}
            if isinstance(definition, dict):
                left = self._exposed(about, words, device, definition.get("exposes"), "", 0, left)
            if about.commands:
                self._known.command(about, "set", f"{_BASE}{device}/set")

    def _exposed(
        self,
        about: About,
        words: dict[str, dict[str, bool]],
        device: str,
        exposes: object,
        prefix: str,
        depth: int,
        left: int,
    ) -> int:
        """Note what a device exposes; how many more may be looked at."""
        if depth >= _DEEPEST:
            return left
        for each in objects(exposes, left):
            left -= 1
            prop = texts(each, "property")
            features = each.get("features")
            if isinstance(features, list):
                inner = f"{prefix}{prop}." if prop else prefix
                left = self._exposed(about, words, device, features, inner, depth + 1, left)
            elif prop:
                self._property(about, words, device, prefix + prop, each)
            if left <= 0:
                break
        return left

    def _property(
        self,
        about: About,
        words: dict[str, dict[str, bool]],
        device: str,
        metric: str,
        each: dict[str, Any],
    ) -> None:
        unit = texts(each, "unit")
        self._known.measure(about, metric, unit, kind(metric)[1])
        meanings = {}
        if texts(each, "type") == "binary":
            for key, meaning in (("value_on", True), ("value_off", False)):
                if texts(each, key):
                    meanings[each[key]] = meaning
        words[metric] = meanings
        access = each.get("access")
        if isinstance(access, int) and access & _ACCESS_SET and "." not in metric:
            self._known.command(about, metric, f"{_BASE}{device}/set/{metric}")
            if "value_on" in each and "value_off" in each:
                said = Words(_written(each["value_on"]), _written(each["value_off"]))
                self._known.said(self._known.called(device, _FAMILY), metric, said)


def _written(word: object) -> str:
    """A value as it is published, where Zigbee2MQTT takes what is JSON for JSON."""
    return word if isinstance(word, str) else msgspec.json.encode(word).decode()


_STATE = re.compile(r"state(_\w+)?")  # `state_l1` of one that switches several
_ON_OFF = {"ON": True, "OFF": False}


def _availability(about: About, payload: bytes) -> dict[str, Value]:
    text = text_of(payload)
    if text.startswith("{"):
        text = texts(tree(payload), "state")
    online = presence(text)
    if online is None:
        return {}
    about.online = online
    return {"online": online}
