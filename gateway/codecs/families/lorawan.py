"""How well a LoRaWAN uplink was heard, which The Things Stack and ChirpStack tell alike."""

import re
from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.reports import time_of, value_of
from gateway.core.contracts import About, Value

_CAYENNE_KINDS = {
    "temperature": ("°C", "temperature"), "temperatureSensor": ("°C", "temperature"),
    "relative_humidity": ("%", "humidity"), "humiditySensor": ("%", "humidity"),
    "barometric_pressure": ("hPa", "atmospheric_pressure"),
    "barometer": ("hPa", "atmospheric_pressure"), "luminosity": ("lx", "illuminance"),
    "illuminanceSensor": ("lx", "illuminance"),
}  # fmt: skip
_CAYENNE = re.compile(rf"({'|'.join(_CAYENNE_KINDS)})[._]\d{{1,3}}")


def heard(
    known: Known, about: About, gateways: list[dict[str, Any]], count: object, spread: object
) -> dict[str, Value]:
    """`rssi` and `snr` of the gateway that heard it best, how many did, the frame's number and its
    spreading factor. Raises DecodeError."""
    values: dict[str, Value] = {}
    best = max(gateways, key=_rssi, default=None)
    for metric, unit, kind in (("rssi", "dBm", "signal_strength"), ("snr", "dB", "")):
        if best is not None and _is_number(best.get(metric)):
            values[metric] = value_of(metric, best[metric])
            known.measure(about, metric, unit, kind)
    if gateways:
        values["gateways"] = float(len(gateways))
    for metric, given in (("frame_count", count), ("spreading_factor", spread)):
        if _is_number(given):
            values[metric] = value_of(metric, given)
    return values


def placed(known: Known, about: About, found: object) -> dict[str, Value]:
    """Where a device is: `latitude`, `longitude`, `altitude`, `accuracy`. Raises DecodeError."""
    values: dict[str, Value] = {}
    for key, unit in (("latitude", "°"), ("longitude", "°"), ("altitude", "m"), ("accuracy", "m")):
        given = found.get(key) if isinstance(found, dict) else None
        if _is_number(given):
            values[key] = value_of(key, given)
            known.measure(about, key, unit, "distance" if key == "accuracy" else "")
    return values


def cayenne(known: Known, about: About, values: Iterable[str]) -> None:
    """Note the units of what the networks' own Cayenne LPP decoders call so: `temperature_1` at The
    Things Stack, `temperatureSensor.1` at ChirpStack."""
    for metric in values:
        found = _CAYENNE.fullmatch(metric)
        if found:
            known.measure(about, metric, *_CAYENNE_KINDS[found[1]])


def timed(text: str) -> int | None:
    """A time as it is written (ns); None where there is none. Raises DecodeError with reason
    time."""
    return time_of(text) if text else None


def _is_number(given: object) -> bool:
    return isinstance(given, float | int) and not isinstance(given, bool)


def _rssi(gateway: dict[str, Any]) -> float:
    given = gateway.get("rssi")
    return given if isinstance(given, float | int) else float("-inf")
