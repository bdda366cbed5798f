"""Shelly of the first generation: `shellies/<id>/…`, a bare value on each topic.

A metric is the rest of the topic, with dots: `relay.0`, `relay.0.power`, `sensor.temperature`. On
and off, true and false are true and false, an input's 1 and 0 too. `energy` and
`returned_energy`, which Shelly counts in W·min, are in Wh, as `total` is. 999 of a temperature or
humidity, a missing probe, is no reading.
"""

import re
from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import (
    Told,
    flat,
    name,
    presence,
    pruned,
    text_of,
    texts,
    tree,
    value,
)
from gateway.core.contracts import About, Value

_FAMILY = "Shelly"
_SHARED = frozenset(("announce", "command"))
_PASSED_OVER = frozenset(("info", "command", "set", "rpc", "act_reasons"))
_DROP = frozenset(("source", "transition", "has_timer", "timer_started", "timer_duration",
                   "timer_remaining", "time", "ts", "timestamp"))  # fmt: skip
_SWITCH = re.compile(r"(relay|light|color\.0|white|roller)(\.\d+)?")
_KINDS = {
    "power": ("W", "power"), "energy": ("Wh", "energy"), "returned_energy": ("Wh", "energy"),
    "total": ("Wh", "energy"), "total_returned": ("Wh", "energy"), "voltage": ("V", "voltage"),
    "current": ("A", "current"), "pf": ("", "power_factor"),
    "reactive_power": ("var", "reactive_power"), "temperature": ("°C", "temperature"),
    "ext_temperature": ("°C", "temperature"), "ext_humidity": ("%", "humidity"),
    "humidity": ("%", "humidity"), "battery": ("%", "battery"), "lux": ("lx", "illuminance"),
    "flood": ("", "moisture"), "smoke": ("", "smoke"), "motion": ("", "motion"),
    "vibration": ("", "vibration"), "gas": ("", "gas"), "concentration": ("ppm", ""),
    "tilt": ("°", ""), "pos": ("%", ""), "brightness": ("%", ""), "gain": ("%", ""),
    "temperature_f": ("°F", "temperature"), "overtemperature": ("", "problem"),
    "bat": ("%", "battery"), "tmp.value": ("°C", "temperature"), "temp": ("K", ""),
    "target_t.value": ("°C", "temperature"), "adc": ("V", "voltage"),
    "overpower": ("", "problem"), "overpower_value": ("W", "power"),
}  # fmt: skip
_WATT_MINUTES = ("energy", "returned_energy")
# Told where the probe is missing or broken: as a reading it would set off alerts, spoil averages.
_NO_PROBE = 999.0
_PROBED = ("temperature", "humidity")
_YES_NO = re.compile(r"input\.\d+|overtemperature|(relay|light)\.\d+\.overpower")


_SLEEPERS = re.compile(r"shelly(plus|blu)?(ht|dw|flood|motion|smoke|button)", re.IGNORECASE)


def reachable(about: About, device: str, payload: bytes) -> dict[str, Value]:
    """`online`. One that runs on a battery is not gone each time it goes to sleep. Raises
    DecodeError."""
    online = presence(text_of(payload))
    if online is None:
        return {}
    about.online = True if _SLEEPERS.match(device) else online
    return {"online": online}


def _what(metric: str) -> str:
    """The end of its name that tells what is measured: without the number of a channel."""
    first, _, last = metric.rpartition(".")
    return first.rpartition(".")[2] if last.isdigit() else last


def _kind(metric: str) -> tuple[str, str]:
    """A metric's unit and class; "" where there is none."""
    return _KINDS.get(metric) or _KINDS.get(_what(metric), ("", ""))


class Shelly1:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = ("shellies/#",)

    def __init__(self, known: Known) -> None:
        self._known = known

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        match topic.split("/", 2):
            case ["shellies", what] if what in _SHARED:
                return ""
            case ["shellies", device, rest] if device and rest and not rest.startswith("rpc"):
                return device
        return None

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        _, device, *rest = topic.split("/")
        if not rest:
            if device == "announce" and payload.lstrip().startswith(b"{"):
                self._announced(tree(payload))
            return ()
        if rest[-1] in _PASSED_OVER:
            return ()
        if rest == ["announce"]:
            self._announced(tree(payload))
            return ()
        about = self._known.of(device, _FAMILY)
        if rest == ["online"]:
            values = reachable(about, device, payload)
        else:
            values = self._values(about, device, rest, payload)
        return [(device, None, values)] if values else ()

    def _values(
        self, about: About, device: str, rest: list[str], payload: bytes
    ) -> dict[str, Value]:
        if payload.lstrip().startswith(b"{"):
            part = rest[:-1] if rest[-1] == "status" else rest
            inner: dict[str, Any] = pruned(tree(payload), _DROP)
            # A motion sensor or a radiator valve says all of it on `status`.
            _, values = flat({".".join(part): inner} if part else inner)
        else:
            text = text_of(payload)
            values = {name(*rest): value(text)} if text else {}
        return {
            metric: self._measured(about, device, metric, given)
            for metric, given in values.items()
            if not (given == _NO_PROBE and _kind(metric)[1] in _PROBED)
        }

    def _measured(self, about: About, device: str, metric: str, given: Value) -> Value:
        """A value as it is meant, once its unit and its command are noted."""
        self._known.measure(about, metric, *_kind(metric))
        if _what(metric) in _WATT_MINUTES and isinstance(given, float):
            return round(given / 60, 3)
        if _YES_NO.fullmatch(metric) and given in (0.0, 1.0):
            return bool(given)
        if _SWITCH.fullmatch(metric):
            self._known.command(
                about, metric, f"shellies/{device}/{metric.replace('.', '/')}/command"
            )
        return given

    def _announced(self, data: dict[str, Any]) -> None:
        device = texts(data, "id")
        if device and "/" not in device:
            about = self._known.of(device, _FAMILY)
            self._known.tell(
                about,
                model=texts(data, "model"),
                firmware=texts(data, "fw_ver"),
                manufacturer=_FAMILY,
                name=texts(data, "name"),
            )
