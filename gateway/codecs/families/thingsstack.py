"""The Things Stack v3 (The Things Network): `v3/<application>@<tenant>/devices/<device>/up`.

Metrics are those of `decoded_payload`, or of `normalized_payload` where there is only that, and how
well it was heard: `rssi` and `snr` of the gateway that heard it best, `gateways`,
`spreading_factor`. The time is when the network received it.
"""

from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.lorawan import cayenne, heard, placed, timed
from gateway.codecs.families.parts import Told, flat, objects, pruned, texts, tree
from gateway.codecs.reports import metric_name, value_of
from gateway.core.contracts import About, Value

_FAMILY = "The Things Stack"
_UNITS = {
    "air.temperature": ("°C", "temperature"), "air.relativeHumidity": ("%", "humidity"),
    "air.pressure": ("hPa", "atmospheric_pressure"), "air.co2": ("ppm", "carbon_dioxide"),
    "air.lightIntensity": ("lx", "illuminance"), "soil.temperature": ("°C", "temperature"),
    "soil.moisture": ("%", "moisture"), "soil.depth": ("cm", "distance"), "soil.ec": ("dS/m", ""),
    "soil.pH": ("", "ph"), "wind.speed": ("m/s", "wind_speed"), "wind.direction": ("°", ""),
    "soil.n": ("ppm", ""), "soil.p": ("ppm", ""), "soil.k": ("ppm", ""),
    "water.temperature.min": ("°C", "temperature"), "water.temperature.max": ("°C", "temperature"),
    "water.temperature.avg": ("°C", "temperature"), "metering.water.total": ("L", "water"),
    "water.temperature.current": ("°C", "temperature"), "battery": ("V", "voltage"),
    "water.leak": ("", "moisture"), "rain.intensity": ("mm/h", ""), "rain.cumulative": ("mm", ""),
}  # fmt: skip
_LATER = "last_battery_percentage"
_TIMES = ("time", "ts", "timestamp")


class ThingsStack:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = ("v3/+/devices/+/#",)

    def __init__(self, known: Known) -> None:
        self._known = known

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        match topic.split("/"):
            case ["v3", application, "devices", device, what, *_] if application and device:
                return device if what in ("up", "join", "location", "service") else ""
        return None

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        _, application, _, device, *what = topic.split("/")
        if what == ["location", "solved"]:
            return self._placed(device, tree(payload))
        if what != ["up"]:
            return ()
        data = tree(payload)
        message = data.get("uplink_message")
        if not isinstance(message, dict):
            return ()
        about = self._known.of(device, _FAMILY)
        self._who(about, data, message)
        self._known.command(about, "downlink", f"v3/{application}/devices/{device}/down/push")
        values = self._values(about, message)
        values |= heard(
            self._known, about, objects(message.get("rx_metadata"), 100), message.get("f_cnt"),
            _spread(message),
        )  # fmt: skip
        when = timed(texts(message, "received_at") or texts(data, "received_at"))
        return [(device, when, values)] if values else ()

    def _placed(self, device: str, data: dict[str, Any]) -> list[Told]:
        solved, about = data.get("location_solved"), self._known.of(device, _FAMILY)
        location = solved.get("location") if isinstance(solved, dict) else None
        values = placed(self._known, about, location)
        return [(device, timed(texts(data, "received_at")), values)] if values else []

    def _who(self, about: About, data: dict[str, Any], message: dict[str, Any]) -> None:
        version = message.get("version_ids")
        self._known.tell(
            about,
            name=texts(data.get("end_device_ids"), "device_id"),
            model=texts(version, "model_id"),
            manufacturer=texts(version, "brand_id"),
            firmware=texts(version, "firmware_version"),
        )

    def _values(self, about: About, message: dict[str, Any]) -> dict[str, Value]:
        values, standard = _decoded(message), dict[str, Value]()
        for each in objects(message.get("normalized_payload"), 10):
            standard |= flat(pruned(each, _TIMES))[1]
        for metric in standard.keys() & _UNITS.keys():
            for same in _alike(metric, standard[metric], values) if values else (metric,):
                self._known.measure(about, same, *_UNITS[metric])
        cayenne(self._known, about, values)
        values = values or standard
        raw = texts(message, "frm_payload")
        if raw and not values:
            values["frm_payload"] = value_of("frm_payload", raw)
        battery = message.get(_LATER)
        charge = battery.get("value") if isinstance(battery, dict) else None
        if isinstance(charge, float | int) and not isinstance(charge, bool):
            metric = metric_name("battery_percentage")
            values[metric] = value_of(metric, charge)
            self._known.measure(about, metric, "%", "battery")
        return values


def _decoded(message: dict[str, Any]) -> dict[str, Value]:
    found = message.get("decoded_payload")
    return flat(pruned(found, _TIMES))[1] if isinstance(found, dict) else {}


def _alike(metric: str, given: Value, values: dict[str, Value]) -> list[str]:
    """The metrics that a device's own decoder calls almost as the standard does, with the same
    value: they have its unit."""
    last = metric.rpartition(".")[2].lower()
    found = []
    for each, value in values.items():
        called = each.rpartition(".")[2].lower()
        same = last.endswith(called) or (len(last) > 2 and called.endswith(last))
        if value == given and same:
            found.append(each)
    return found


def _spread(message: dict[str, Any]) -> object:
    found: object = message.get("settings")
    for key in ("data_rate", "lora"):
        found = found.get(key) if isinstance(found, dict) else None
    return found.get("spreading_factor") if isinstance(found, dict) else None
