"""What a metric is for Home Assistant: which kind of entity, of which class, in which unit."""

import re
import zlib
from typing import Any

import msgspec

from gateway.core.contracts import Value

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 100

_UNITS = {
    "Cel": "°C",
    "degC": "°C",
    "degF": "°F",
    "%RH": "%",
    "deg": "°",
    "m3/h": "m³/h",
    "uV": "µV",
}
"""As Home Assistant writes them, where others write them otherwise (SenML, RFC 8428)."""

_CLASSES = {
    "temperature": "°C °F K",
    "pressure": "Pa hPa kPa bar mbar psi mmHg",
    "voltage": "V mV µV kV",
    "current": "A mA",
    "power": "W kW MW mW",
    "apparent_power": "VA kVA",
    "reactive_power": "var kvar",
    "energy": "Wh kWh MWh",
    "frequency": "Hz kHz MHz GHz",
    "data_size": "B kB MB GB TB KiB MiB GiB",
    "data_rate": "B/s kB/s MB/s GB/s bit/s kbit/s Mbit/s",
    "duration": "s min h d ms",
    "illuminance": "lx",
    "irradiance": "W/m²",
    "distance": "mm cm m km",
    "weight": "g kg mg t",
    "speed": "m/s km/h mph kn",
    "signal_strength": "dBm",
    "volume_flow_rate": "m³/h L/min L/h L/s",
    "precipitation_intensity": "mm/h",
    "conductivity": "µS/cm mS/cm",
}
_CLASS_OF = {unit: name for name, units in _CLASSES.items() for unit in units.split()}
_OF_SHARES = ("humidity", "moisture", "battery")  # classes of what is told in %, by the name
_COUNTING = ("energy",)  # what only grows, and begins anew at times


def key_of(metric: str) -> str:
    """The metric as a part of ids: always the same, and no other one's."""
    dotted = metric.replace(".", "__")
    if _PLAIN.fullmatch(dotted) and "__" not in metric and len(dotted) <= _LONGEST:
        return dotted
    plain = _STRANGE.sub("_", dotted)[:_LONGEST]
    return f"{plain}_{zlib.crc32(metric.encode()):08x}"


def entity(metric: str, value: Value, unit: str) -> dict[str, Any]:
    """The entity that shows a metric. value: one it had; unit: "" where it is not known.

    A reading that lacks the metric gives an empty text, which Home Assistant leaves out."""
    name = msgspec.json.encode(metric).decode()
    shown = {"name": metric.replace(".", " ").replace("_", " ")}
    if isinstance(value, bool):
        found = f"{{{{ {{true: 'ON', false: 'OFF'}}.get(value_json['values'].get({name}), '') }}}}"
        return {"p": "binary_sensor", **shown, "value_template": found}
    shown["value_template"] = f"{{{{ value_json['values'].get({name}, '') }}}}"
    if isinstance(value, str):
        return {"p": "sensor", **shown}
    unit = _UNITS.get(unit, unit)
    kind = _class(metric, unit)
    counting = kind in _COUNTING
    return {
        "p": "sensor",
        **shown,
        **({"unit_of_measurement": unit} if unit else {}),
        **({"device_class": kind} if kind else {}),
        "state_class": "total_increasing" if counting else "measurement",
    }


def _class(metric: str, unit: str) -> str | None:
    """The class that a unit tells; of a share, its name."""
    if unit == "%":
        return next((each for each in _OF_SHARES if each in metric.lower()), None)
    return _CLASS_OF.get(unit)
