"""How well a LoRaWAN uplink was heard, which The Things Stack and ChirpStack tell alike."""

from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.reports import time_of, value_of
from gateway.core.contracts import About, Value


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


def timed(text: str) -> int | None:
    """A time as it is written (ns); None where there is none. Raises DecodeError with reason
    time."""
    return time_of(text) if text else None


def _is_number(given: object) -> bool:
    return isinstance(given, float | int) and not isinstance(given, bool)


def _rssi(gateway: dict[str, Any]) -> float:
    given = gateway.get("rssi")
    return given if isinstance(given, float | int) else float("-inf")
