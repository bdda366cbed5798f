"""What the families' payloads have in common: trees that are pruned and flattened, bare values,
units and device classes by the names that vendors use."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from gateway.codecs.json import parse
from gateway.codecs.reports import MAX_DEPTH, MAX_TEXT, Report, metric_name, reports, value_of
from gateway.core.contracts import Value
from gateway.core.errors import DecodeError

Told = tuple[str, int | None, dict[str, Value]]
"""A reading: the original name of its device, its own time (ns) or None, its values."""

LARGEST = 65_536
"""Bytes of a payload with values; one that tells of all devices may be as large as any."""
_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?")
_WORDS = {"on": True, "off": False, "true": True, "false": False}


def tree(payload: bytes, largest: int = LARGEST) -> dict[str, Any]:
    """A JSON object. Raises DecodeError with reason too_long, malformed or too_deep."""
    if len(payload) > largest:
        raise DecodeError(f"payload of {len(payload)} bytes", reason="too_long")
    data = parse(payload)
    if not isinstance(data, dict):
        raise DecodeError("not a JSON object")
    return data


def pruned(data: Mapping[str, Any], drop: Collection[str], depth: int = 0) -> dict[str, Any]:
    """`data` without these keys, at any depth. Raises DecodeError with reason too_deep."""
    if depth >= MAX_DEPTH:
        raise DecodeError(f"nested deeper than {MAX_DEPTH}", reason="too_deep")
    return {
        key: pruned(item, drop, depth + 1) if isinstance(item, dict) else item
        for key, item in data.items()
        if key and key not in drop
    }


def flat(data: Mapping[str, Any]) -> Report:
    """A tree's own time and its values, by the rules of JSON; there may be none. Raises DecodeError
    with reason time, too_deep, too_many, metric or malformed."""
    try:
        return reports(dict(data))[0]
    except DecodeError as error:
        if error.reason == "empty":
            return None, {}
        raise


def text_of(payload: bytes) -> str:
    """A payload that is a text. Raises DecodeError with reason malformed or metric."""
    if len(payload) > 4 * MAX_TEXT:
        raise DecodeError(f"text of {len(payload)} bytes", reason="metric")
    try:
        return payload.decode().strip()
    except UnicodeDecodeError as error:
        raise DecodeError("not UTF-8") from error


def value(text: str) -> Value:
    """A bare value: a number, `on`, `off`, `true`, `false`, or else a text. Raises DecodeError with
    reason metric or malformed."""
    if _NUMBER.fullmatch(text):
        return value_of("value", float(text))
    word = _WORDS.get(text.lower())
    return word if word is not None else value_of("value", text)


def name(*parts: object) -> str:
    """A metric's name from its parts. Raises DecodeError with reason metric."""
    return metric_name(".".join(str(part) for part in parts if part != ""))


def texts(data: object, key: str) -> str:
    """What an object has at `key`, if that is a text; else ""."""
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""


def objects(data: object, limit: int) -> list[dict[str, Any]]:
    """The objects in a list, at most `limit` of them."""
    if not isinstance(data, list):
        return []
    return [item for item in data[:limit] if isinstance(item, dict)]


def presence(text: str) -> bool | None:
    """What a word says of whether somebody is there; None: nothing."""
    word = text.strip().lower()
    if word in ("online", "true", "connected", "up", "ready", "alert", "sleeping"):
        return True
    if word in ("offline", "false", "disconnected", "down", "lost"):
        return False
    return None


_KINDS: dict[str, tuple[str, str]] = {
    "temperature": ("°C", "temperature"), "humidity": ("%", "humidity"),
    "pressure": ("hPa", "atmospheric_pressure"), "battery": ("%", "battery"),
    "illuminance": ("lx", "illuminance"), "power": ("W", "power"), "energy": ("kWh", "energy"),
    "voltage": ("V", "voltage"), "current": ("A", "current"), "co2": ("ppm", "carbon_dioxide"),
    "rssi": ("dBm", "signal_strength"), "snr": ("dB", ""), "frequency": ("Hz", "frequency"),
    "dew_point": ("°C", "temperature"), "contact": ("", "opening"), "occupancy": ("", "occupancy"),
    "water_leak": ("", "moisture"), "smoke": ("", "smoke"), "vibration": ("", "vibration"),
    "tamper": ("", "tamper"), "battery_low": ("", "battery"), "motion": ("", "motion"),
    "presence": ("", "occupancy"), "carbon_monoxide": ("", "carbon_monoxide"), "gas": ("", "gas"),
    "pm25": ("µg/m³", "pm25"), "pm10": ("µg/m³", "pm10"), "voc": ("ppb", ""),
    "soil_moisture": ("%", "moisture"), "power_factor": ("", "power_factor"),
    "device_temperature": ("°C", "temperature"), "local_temperature": ("°C", "temperature"),
    "illuminance_lux": ("lx", "illuminance"), "ac_frequency": ("Hz", "frequency"),
    "occupied_heating_setpoint": ("°C", "temperature"), "pi_heating_demand": ("%", ""),
    "current_heating_setpoint": ("°C", "temperature"), "formaldehyd": ("mg/m³", ""),
    "soil_temperature": ("°C", "temperature"),
    "apparent_power": ("VA", "apparent_power"), "reactive_power": ("var", "reactive_power"),
}  # fmt: skip


def kind(metric: str) -> tuple[str, str]:
    """Unit and device class that go with a name all over the world; "" for what does not."""
    return _KINDS.get(metric, ("", ""))
