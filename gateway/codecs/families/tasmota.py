"""Tasmota (tasmota.github.io): `tele/<topic>/…`, `stat/<topic>/…`, `tasmota/discovery/<mac>/…`.

Metrics are called as Tasmota calls them: `AM2301.Temperature`, `ENERGY.Power`, `POWER1`,
`Wifi.Signal`. On and off are true and false. `Time` is left out: it is local, in a zone that is not
told. What a Zigbee bridge has received is each Zigbee device's own; what was received by infrared
or radio is the bridge's: `IrReceived.Data`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import Told, flat, presence, pruned, text_of, texts, tree
from gateway.core.contracts import About, Value

_FAMILY = "Tasmota"
_DROP = frozenset((
    "Time", "Uptime", "SleepMode", "Sleep", "Id", "SSId", "BSSId", "AP", "Mode", "Channel",
    "Downtime", "TotalStartTime", "TempUnit", "PressureUnit", "SpeedUnit", "Hostname", "IPAddress",
    "time", "ts", "timestamp", "RawData",
))  # fmt: skip
_STATES = re.compile(
    r"(POWER\d{0,2}|Dimmer\d?|CT|White|FanSpeed|Speed|Fade|Color|HSBColor|Shutter\d"
    r"|Switch\d{1,2}|Button\d{1,2})"
)
_BASE = re.compile(r"[^+#$\x00][^+#\x00]{0,200}")
_MOST = 2_000  # topics of devices whose FullTopic was changed
_ON_OFF = re.compile(r"(POWER|Switch)\d{0,2}")
_KINDS = {
    "Humidity": ("%", "humidity"), "DewPoint": ("°C", "temperature"),
    "Temperature": ("°C", "temperature"), "Pressure": ("hPa", "atmospheric_pressure"),
    "SeaPressure": ("hPa", "atmospheric_pressure"), "Illuminance": ("lx", "illuminance"),
    "Power": ("W", "power"), "ApparentPower": ("VA", "apparent_power"),
    "ReactivePower": ("var", "reactive_power"), "Factor": ("", "power_factor"),
    "Voltage": ("V", "voltage"), "Current": ("A", "current"), "Frequency": ("Hz", "frequency"),
    "Total": ("kWh", "energy"), "Today": ("kWh", "energy"), "Yesterday": ("kWh", "energy"),
    "ExportActive": ("kWh", "energy"), "ImportActive": ("kWh", "energy"),
    "Period": ("Wh", "energy"),
    "CarbonDioxide": ("ppm", "carbon_dioxide"), "eCO2": ("ppm", "carbon_dioxide"),
    "TVOC": ("ppb", "volatile_organic_compounds_parts"), "Distance": ("cm", "distance"),
    "PM1": ("µg/m³", "pm1"), "PM2.5": ("µg/m³", "pm25"), "PM10": ("µg/m³", "pm10"),
    "CF1": ("µg/m³", ""), "CF2.5": ("µg/m³", ""), "CF10": ("µg/m³", ""),
    "Weight": ("kg", "weight"), "Moisture": ("%", "moisture"), "Battery": ("%", "battery"),
    "UptimeSec": ("s", "duration"), "Heap": ("kB", ""), "Gas": ("kΩ", ""),
    "RSSI": ("dBm", "signal_strength"), "Fertility": ("µS/cm", "conductivity"),
    "Position": ("%", ""), "Deg": ("°", ""),
    "Signal": ("dBm", "signal_strength"), "Vcc": ("V", "voltage"), "Dimmer": ("%", ""),
}  # fmt: skip
_TEMPERATURES = ("Temperature", "DewPoint")
_PRESSURES = ("Pressure", "SeaPressure")
_ELSEWHERE = {"Wifi.RSSI": ("%", ""), "VL53L0X.Distance": ("mm", "distance"),
              "VL53L1X.Distance": ("mm", "distance")}  # fmt: skip
_WIND = re.compile(r".+\.Speed\.(Act|Avg|Min|Max)")
_ZIGBEE = {
    "Temperature": ("°C", "temperature"), "Humidity": ("%", "humidity"),
    "Pressure": ("hPa", "atmospheric_pressure"), "SeaPressure": ("hPa", "atmospheric_pressure"),
    "BatteryPercentage": ("%", "battery"), "BatteryVoltage": ("V", "voltage"),
    "ActivePower": ("W", "power"), "RMSVoltage": ("V", "voltage"),
}  # fmt: skip
_OF_ZIGBEE = frozenset((
    "Device", "Name", "Endpoint", "Group", "ModelId", "Manufacturer", "IEEEAddr", "ShortAddr",
    "time", "ts", "timestamp",
))  # fmt: skip
_MOST_RECEIVED = 100  # Zigbee devices in one message
_RECEIVED = ("IrReceived", "RfReceived")
_TELE = frozenset(("SENSOR", "STATE"))
_SELDOM = frozenset(("LWT", "INFO1", "HASS_STATE"))
_STATUS = {"STATUS8": "StatusSNS", "STATUS10": "StatusSNS", "STATUS11": "StatusSTS"}


class Tasmota:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = ("tele/+/+", "stat/+/+", "tasmota/discovery/+/+")

    def __init__(self, known: Known) -> None:
        self._known = known
        self.listen: Callable[[str, bool], None] = lambda topic, wanted: None
        self._bases: dict[str, tuple[str, str]] = {}  # kind and device, where FullTopic was changed

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        match topic.split("/"):
            case ["tele" | "stat", device, _] if device:
                return device
            case ["tasmota", "discovery", _, _]:
                return ""
        return self._bases.get(topic.rpartition("/")[0], ("", None))[1]

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        if topic.startswith("tasmota/discovery/"):
            self._announced(topic, payload)
            return ()
        base, _, what = topic.rpartition("/")
        kind, device = self._bases.get(base) or tuple(base.split("/", 1))
        about = self._known.of(device, _FAMILY)
        found: list[Told] = []
        if kind != "tele":
            values = self._stat(about, device, what, payload)
        elif what in _TELE or what == "RESULT":
            data = tree(payload)
            found = list(self._zigbee(device, data.pop("ZbReceived", None)))
            if what == "RESULT":
                data = {key: data[key] for key in _RECEIVED if key in data}
            values = self._values(about, device, data)
        else:
            values = self._seldom(about, device, what, payload)
        return [*found, (device, None, values)] if values else found

    def _zigbee(self, bridge: str, received: object) -> Iterator[Told]:
        """What Zigbee devices said, each by its name, or else by its short address."""
        each = list(received.items()) if isinstance(received, dict) else []
        for key, data in each[:_MOST_RECEIVED]:
            if not isinstance(data, dict) or not key:
                continue
            address = texts(data, "Device") or key
            # The address is another one once the device has joined again.
            device = self._known.named(texts(data, "Name") or key, f"{bridge} {address}", False)
            about = self._known.of(device, _FAMILY)
            self._known.tell(
                about,
                name=texts(data, "Name"),
                model=texts(data, "ModelId"),
                manufacturer=texts(data, "Manufacturer"),
            )
            _, values = flat(pruned(data, _OF_ZIGBEE))
            for metric in values.keys() & _ZIGBEE.keys():
                self._known.measure(about, metric, *_ZIGBEE[metric])
            if values.get("Power") in (0.0, 1.0):  # whether it is on; watts are ActivePower
                values["Power"] = bool(values["Power"])
            if values:
                yield device, None, values

    def _seldom(self, about: About, device: str, what: str, payload: bytes) -> dict[str, Value]:
        if what not in _SELDOM:
            return {}
        if what == "LWT":
            online = presence(text_of(payload))
            if online is None:
                return {}
            about.online = online
            return {"online": online}
        data = tree(payload)
        if what == "HASS_STATE":
            self._known.tell(
                about, firmware=data.get("Version"), model=data.get("Module or Template")
            )
            return {}
        info = data.get("Info1", data)
        self._known.tell(about, firmware=texts(info, "Version"), model=texts(info, "Module"))
        return {}

    def _stat(self, about: About, device: str, what: str, payload: bytes) -> dict[str, Value]:
        if not payload.lstrip().startswith(b"{"):
            return {}  # stat/…/POWER: the same is in RESULT
        data = tree(payload)
        if what in _STATUS:
            inner = data.get(_STATUS[what])
            return self._values(about, device, inner) if isinstance(inner, dict) else {}
        if what == "STATUS2":
            self._known.tell(about, firmware=texts(data.get("StatusFWR"), "Version"))
            return {}
        if what.startswith("STATUS"):
            return {}
        # Other answers, such as those to SetOption, are no state.
        found = {key: item for key, item in data.items() if _STATES.fullmatch(key)}
        return self._values(about, device, found)

    def _values(self, about: About, device: str, data: dict[str, Any]) -> dict[str, Value]:
        _, values = flat(pruned(data, _DROP))
        for metric in values:
            if _ON_OFF.fullmatch(metric):
                values[metric] = _switched(values[metric])
                if metric.startswith("POWER") and metric not in about.commands:
                    self._known.command(about, metric, f"cmnd/{device}/{metric}")
            else:
                self._known.measure(about, metric, *_measured(data, metric))
        return values

    def _announced(self, topic: str, payload: bytes) -> None:
        """A discovery message: who it is. The other one, what its sensors look like, tells nothing
        that the sensors do not."""
        if not topic.endswith("/config") or not payload:
            return
        data = tree(payload)
        device = texts(data, "t")
        if not device or "/" in device:
            return
        about = self._known.of(device, _FAMILY)
        names = data.get("fn")
        friendly = names[0] if isinstance(names, list) and names else ""
        self._known.tell(
            about,
            name=texts(data, "dn") or friendly,
            model=texts(data, "md"),
            firmware=texts(data, "sw"),
            manufacturer=_FAMILY,
        )
        base = self._placed(device, data)
        relays = data.get("rl")
        count = sum(1 for relay in relays[:32] if relay) if isinstance(relays, list) else 0
        for number in range(1, count + 1):
            power = "POWER" if count == 1 else f"POWER{number}"
            self._known.command(about, power, f"{base}/{power}")

    def _placed(self, device: str, data: dict[str, Any]) -> str:
        """What the topics of its commands begin with; the others are listened to, where they are
        not as Tasmota has them by default."""
        form, prefixes = texts(data, "ft").rstrip("/"), data.get("tp")
        found = (
            [each for each in prefixes if isinstance(each, str)]
            if isinstance(prefixes, list)
            else []
        )
        if form in ("", "%prefix%/%topic%") or "%topic%" not in form or len(found) != 3:
            return f"cmnd/{device}"
        command, *others = (
            form.replace("%prefix%", each).replace("%topic%", device) for each in found
        )
        for kind, base in zip(("stat", "tele"), others, strict=True):
            if _BASE.fullmatch(base) and len(self._bases) < _MOST and base not in self._bases:
                self._bases[base] = (kind, device)
                self.listen(f"{base}/+", True)
        return command


def _switched(given: Value) -> Value:
    return {"ON": True, "OFF": False}.get(given, given) if isinstance(given, str) else given


def _measured(data: dict[str, Any], metric: str) -> tuple[str, str]:
    """A metric's unit and class; "" where there is none."""
    if metric in _ELSEWHERE:
        return _ELSEWHERE[metric]
    if _WIND.fullmatch(metric):
        return texts(data, "SpeedUnit"), "wind_speed"
    first, _, last = metric.rpartition(".")
    if last.isdigit() and first:  # Power of a meter with several phases, or PM2.5
        several = first.rpartition(".")[2]
        last = f"{several}.{last}" if f"{several}.{last}" in _KINDS else several
    if last not in _KINDS:  # Temperature1 and Temperature2, of several on analogue pins
        last = last.rstrip("0123456789")
    unit, kind = _KINDS.get(last, ("", ""))
    return _told_unit(data, last) or unit, kind


def _told_unit(data: dict[str, Any], last: str) -> str:
    """The unit that a payload itself tells."""
    if last in _TEMPERATURES:
        unit = texts(data, "TempUnit")
        return f"°{unit}" if unit in ("C", "F") else ""
    if last in _PRESSURES:
        return texts(data, "PressureUnit")
    return ""
