"""Shelly of the second generation and later: `<id>/events/rpc`, `<id>/status/<component>`,
`<id>/online`.

A metric is the component and what it says, with dots: `switch.0.apower`, `temperature.0.tC`,
`em.0.a_voltage`. A notification's `ts` is the reading's time. `input.0.event` is what a button did.
A BLU device that a script passes on is one of its own: `shellyblu-b43522fe5824`.
"""

import re
from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import (
    Told,
    flat,
    name,
    objects,
    pruned,
    texts,
    tree,
)
from gateway.codecs.families.shelly1 import reachable
from gateway.codecs.reports import time_of, value_of
from gateway.core.contracts import About, Value

_FAMILY = "Shelly"
_DEVICE = re.compile(r"(shelly[a-z0-9]*)-[0-9a-fA-F]{6,12}", re.IGNORECASE)
_COMPONENT = re.compile(r"([a-z][a-z0-9_]*)(:\d+)?")
_NOTIFIES = ("NotifyStatus", "NotifyFullStatus")
_DROP = frozenset((
    "id", "source", "by_minute", "minute_ts", "tF", "sta_ip", "ssid", "bssid", "mac", "time", "ts",
    "timestamp", "unixtime", "available_updates", "cfg_rev", "kvs_rev", "schedule_rev",
    "webhook_rev", "ram_size", "fs_size", "ble", "cloud", "mqtt", "ws", "ht_ui", "transition",
    "btrelay_rev", "matter", "bthome", "knx", "last_sync_ts", "last_updated_ts", "last_update_ts",
    "packet_id", "target_F", "current_F",
))  # fmt: skip
_SWITCHES = {"switch": "Switch.Set", "light": "Light.Set", "cover": "Cover.GoToPosition"}
_KINDS = {
    "apower": ("W", "power"), "voltage": ("V", "voltage"), "current": ("A", "current"),
    "pf": ("", "power_factor"), "freq": ("Hz", "frequency"), "tC": ("°C", "temperature"),
    "rh": ("%", "humidity"), "lux": ("lx", "illuminance"), "rssi": ("dBm", "signal_strength"),
    "uptime": ("s", "duration"), "ram_free": ("B", ""), "fs_free": ("B", ""),
    "brightness": ("%", ""), "current_pos": ("%", ""), "aprtpower": ("VA", "apparent_power"),
    "act_power": ("W", "power"), "aprt_power": ("VA", "apparent_power"),
    "total_act_power": ("W", "power"), "total_aprt_power": ("VA", "apparent_power"),
    "total_current": ("A", "current"), "total_act": ("Wh", "energy"),
    "total_act_ret": ("Wh", "energy"), "total_act_energy": ("Wh", "energy"),
    "total_act_ret_energy": ("Wh", "energy"), "percent": ("%", ""), "V": ("V", "voltage"),
    "aenergy.total": ("Wh", "energy"), "ret_aenergy.total": ("Wh", "energy"),
    "battery.percent": ("%", "battery"), "battery.V": ("V", "voltage"),
    "target_C": ("°C", "temperature"), "current_C": ("°C", "temperature"), "ct": ("K", ""),
    "battery": ("%", "battery"),
    "alarm": ("", "problem"), "flood.alarm": ("", "moisture"), "smoke.alarm": ("", "smoke"),
}  # fmt: skip
_BLU = "shelly-blu"
_OF_BLU = frozenset((
    "address", "encryption", "BTHome_version", "pid", "name", "time", "ts", "timestamp",
))  # fmt: skip
_ADDRESS = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_BLU_KINDS = {
    "battery": ("%", "battery"), "temperature": ("°C", "temperature"), "rotation": ("°", ""),
    "humidity": ("%", "humidity"), "illuminance": ("lx", "illuminance"), "motion": ("", "motion"),
    "window": ("", "window"), "rssi": ("dBm", "signal_strength"), "distance": ("mm", "distance"),
}  # fmt: skip
_PHASE = re.compile(r"^[abcn]_")


class Shelly2:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = ("+/events/rpc", "+/status/+", "+/online")

    def __init__(self, known: Known) -> None:
        self._known = known
        self._prefixes: dict[str, str] = {}  # the id of a device whose topics begin otherwise

    def device_of(self, topic: str) -> str | None:
        """See Family. Where topics do not begin with an id, it goes by what events have told."""
        match topic.split("/"):
            case [device, "events", "rpc"] if device:
                return device
            case [device, "status", part] if self._ours(device) and _COMPONENT.fullmatch(part):
                return device
            case [device, "online"] if self._ours(device):
                return device
        return None

    def _ours(self, device: str) -> bool:
        return bool(_DEVICE.fullmatch(device)) or device in self._prefixes

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        device, kind, *rest = topic.split("/")
        if kind == "events":
            return self._event(device, tree(payload))
        about = self._met(device, self._prefixes.get(device, device))
        if kind == "online":
            values = reachable(about, self._prefixes.get(device, device), payload)
            return [(device, None, values)] if values else ()
        if not payload.lstrip().startswith(b"{"):
            return ()
        _, values = self._values(about, device, {rest[0]: tree(payload)})
        return [(device, None, values)] if values else ()

    def _event(self, device: str, data: dict[str, Any]) -> Iterable[Told]:
        source, method, params = texts(data, "src"), texts(data, "method"), data.get("params")
        if not _DEVICE.fullmatch(source) or not isinstance(params, dict):
            return ()
        if device not in self._prefixes and len(self._prefixes) < 10_000:
            self._prefixes[device] = source
        about = self._met(device, source)
        given = params.get("ts")
        when = time_of(given) if isinstance(given, float | int) and given > 0 else None
        if method in _NOTIFIES:
            _, values = self._values(about, device, params)
            return [(device, when, values)] if values else ()
        if method == "NotifyEvent":
            return self._done(device, when, params)
        return ()

    def _done(self, device: str, when: int | None, params: dict[str, Any]) -> list[Told]:
        """What somebody did at a button, and the like."""
        found: list[Told] = []
        for event in objects(params.get("events"), 100):
            what, part, data = texts(event, "event"), texts(event, "component"), event.get("data")
            blu = what == _BLU and _ADDRESS.fullmatch(texts(data, "address"))
            if blu and isinstance(data, dict):
                found.append(self._heard(data, when))
            elif what and part and _COMPONENT.fullmatch(part) and part != "sys":
                metric = name(part.replace(":", "."), "event")
                found.append((device, when, {metric: value_of(metric, what)}))
        return found

    def _heard(self, data: dict[str, Any], when: int | None) -> Told:
        """What a Bluetooth device said that a script has heard."""
        device = f"shellyblu-{texts(data, 'address').replace(':', '').lower()}"
        about = self._known.of(device, _FAMILY)
        self._known.tell(about, manufacturer=_FAMILY, name=texts(data, "name"))
        _, values = flat(pruned(data, _OF_BLU))
        for metric in values.keys() & _BLU_KINDS.keys():
            self._known.measure(about, metric, *_BLU_KINDS[metric])
        for metric in ("motion", "window"):
            if values.get(metric) in (0.0, 1.0):
                values[metric] = bool(values[metric])
        return device, when, values

    def _met(self, device: str, identity: str) -> About:
        about = self._known.of(device, _FAMILY)
        model = _DEVICE.fullmatch(identity)
        if not about.model and model:
            self._known.tell(about, model=model[1], manufacturer=_FAMILY)
        return about

    def _values(
        self, about: About, device: str, parts: dict[str, Any]
    ) -> tuple[int | None, dict[str, Value]]:
        wanted = {
            part.replace(":", "."): item
            for part, item in pruned(parts, _DROP).items()
            if isinstance(item, dict) and _COMPONENT.fullmatch(part)
        }
        when, values = flat(wanted)
        for metric in values:
            self._measure(about, device, metric)
        firmware = parts.get("sys")
        if isinstance(firmware, dict) and texts(firmware, "fw_ver"):
            self._known.tell(about, firmware=texts(firmware, "fw_ver"))
        return when, values

    def _measure(self, about: About, device: str, metric: str) -> None:
        part, *rest = metric.split(".")
        last = rest[-1] if rest else ""
        two = ".".join(rest[-2:])
        kind = (
            _KINDS.get(f"{part}.{last}")
            or _KINDS.get(two)
            or _KINDS.get(last)
            or _KINDS.get(_PHASE.sub("", last))
        )
        if kind:
            self._known.measure(about, metric, *kind)
        if part in _SWITCHES and last in ("output", "state"):
            self._known.command(about, f"{part}.{rest[0]}", f"{device}/command/{part}:{rest[0]}")
