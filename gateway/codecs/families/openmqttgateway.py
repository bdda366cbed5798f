"""OpenMQTTGateway (docs.openmqttgateway.com): `<base>/<gateway>/BTtoMQTT/<address>`,
`…/RTL_433toMQTT/…`, `…/SYStoMQTT`, `…/LWT`.

A Bluetooth device is called by its address, a radio sensor by model, channel and id; the gateway
itself is a device too. Metrics are called as Theengs and rtl_433 call them (`tempc`, `hum`,
`temperature_C`).
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import Told, flat, name, presence, pruned, text_of, texts, tree
from gateway.core.contracts import Value

_FAMILY = "OpenMQTTGateway"
_WHAT = re.compile(r"(BT|BLE|RTL_433|433|Pilight|IR|LORA|SYS|RF|RF2|2G|SRFB|CLIMA|DHT)toMQTT")
_WIRED = frozenset(("CLIMAtoMQTT", "DHTtoMQTT"))  # sensors at the gateway itself
_EVENTS = frozenset(
    ("433toMQTT", "PilighttoMQTT", "IRtoMQTT", "RFtoMQTT", "RF2toMQTT", "SRFBtoMQTT")
)
_DROP = frozenset((
    "id", "mac", "name", "brand", "model", "model_id", "type", "track", "tempf", "tempf2_",
    "mic", "protocol", "duration", "servicedata", "servicedatauuid", "manufacturerdata", "adv_type",
    "mac_type", "cidc", "acts", "cont", "dir", "encr", "prmac", "time", "ts", "timestamp", "SSID",
    "ip", "modules", "version", "env", "board", "bssid", "disc", "ohdisc", "auto", "latest_version",
    "mqttport", "mqttsecure", "discovery", "BSSID", "channel", "packetSize",
))  # fmt: skip
_OF_WIRED = frozenset(("unit", "res", "addr", "type", "tempf", "altift"))
_KINDS = {
    "tempc": ("°C", "temperature"), "tempc2": ("°C", "temperature"), "hum": ("%", "humidity"),
    "batt": ("%", "battery"), "volt": ("V", "voltage"), "rssi": ("dBm", "signal_strength"),
    "lux": ("lx", "illuminance"), "moi": ("%", "moisture"), "fer": ("µS/cm", "conductivity"),
    "pres": ("hPa", "atmospheric_pressure"), "co2": ("ppm", "carbon_dioxide"),
    "pm25": ("µg/m³", "pm25"), "pm10": ("µg/m³", "pm10"), "tempc1": ("°C", "temperature"),
    "power": ("W", "power"), "energy": ("kWh", "energy"), "current": ("A", "current"),
    "for": ("µg/m³", ""), "open": ("", "opening"), "motion": ("", "motion"),
    "distance": ("m", "distance"), "temperature_C": ("°C", "temperature"),
    "temperature_F": ("°F", "temperature"), "humidity": ("%", "humidity"),
    "wind_avg_km_h": ("km/h", "wind_speed"), "wind_max_km_h": ("km/h", "wind_speed"),
    "wind_avg_m_s": ("m/s", "wind_speed"), "wind_max_m_s": ("m/s", "wind_speed"),
    "wind_dir_deg": ("°", ""), "rain_mm": ("mm", "precipitation"), "moisture": ("%", "moisture"),
    "rain_rate_mm_h": ("mm/h", "precipitation_intensity"), "snr": ("dB", ""), "noise": ("dB", ""),
    "pressure_hPa": ("hPa", "atmospheric_pressure"), "pressure_kPa": ("kPa", "pressure"),
    "light_lux": ("lx", "illuminance"), "uptime": ("s", "duration"), "freemem": ("B", ""),
    "battery": ("%", "battery"),
    "temp": ("°C", "temperature"), "pa": ("Pa", "atmospheric_pressure"), "altim": ("m", ""),
    "tempc3": ("°C", "temperature"), "tempc4": ("°C", "temperature"),
    "tempc5": ("°C", "temperature"), "tempc6": ("°C", "temperature"),
    "weight": ("kg", "weight"), "pressure_PSI": ("psi", "pressure"),
    "rain_rate_in_h": ("in/h", "precipitation_intensity"), "rain_in": ("in", "precipitation"),
    "tempc_internal": ("°C", "temperature"), "voltage": ("V", "voltage"),
}  # fmt: skip


class OpenMqttGateway:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = (
        "+/+/BTtoMQTT/#", "+/+/BLEtoMQTT/#", "+/+/RTL_433toMQTT/#", "+/+/433toMQTT/#",
        "+/+/PilighttoMQTT/#", "+/+/IRtoMQTT/#", "+/+/LORAtoMQTT/#", "+/+/SYStoMQTT",
        "+/+/RFtoMQTT/#", "+/+/RF2toMQTT/#", "+/+/SRFBtoMQTT/#", "+/+/2GtoMQTT/#",
        "+/+/CLIMAtoMQTT/#", "+/+/DHTtoMQTT",
    )  # fmt: skip

    def __init__(self, known: Known) -> None:
        self._known = known
        self._gateways: set[str] = set()  # `<base>/<gateway>` that have said so
        # `+/+/LWT` would be Tasmota's too, and bring each of those twice.
        self.listen: Callable[[str, bool], None] = lambda topic, wanted: None

    def device_of(self, topic: str) -> str | None:
        """See Family. `LWT` belongs to it where the gateway said something before, or is called as
        it is by default."""
        match topic.split("/"):
            case [base, gateway, what, *_] if base and gateway and _WHAT.fullmatch(what):
                if what == "SYStoMQTT":
                    return gateway
                return "" if what != "BTtoMQTT" else topic.partition("BTtoMQTT/")[2] or ""
            case [base, gateway, "LWT"]:
                ours = f"{base}/{gateway}" in self._gateways or gateway.startswith(_FAMILY)
                return gateway if ours else None
        return None

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        base, gateway, what, *rest = topic.split("/")
        if what == "LWT":
            about = self._known.of(gateway, _FAMILY)
            about.online = presence(text_of(payload))
            return () if about.online is None else [(gateway, None, {"online": about.online})]
        if f"{base}/{gateway}" not in self._gateways and len(self._gateways) < 1_000:
            self._gateways.add(f"{base}/{gateway}")
            self.listen(f"{base}/{gateway}/LWT", True)
        if not payload.lstrip().startswith(b"{"):
            return ()
        data = tree(payload)
        device = _device(gateway, what, rest, data)
        about = self._known.of(device, _FAMILY)
        if what == "SYStoMQTT":
            self._known.tell(
                about, name=gateway, firmware=texts(data, "version"), model=texts(data, "env")
            )
        else:
            self._known.tell(
                about,
                name=texts(data, "name"),
                model=texts(data, "model"),
                manufacturer=texts(data, "brand"),
            )
        values = self._values(what, rest if what in _WIRED else [], data)
        for metric in values:
            self._known.measure(about, metric, *_kind(metric, data))
        return [(device, None, values)] if values else ()

    def _values(self, what: str, sensor: list[str], data: dict[str, Any]) -> dict[str, Value]:
        if sensor:  # `ds1820/0x28…`: one of several
            data = {name(*sensor): pruned(data, _OF_WIRED)}
        keep = {"protocol", "id"} if what in _EVENTS else set()  # whose remote control
        _, values = flat(pruned(data, _DROP - keep))
        level = values.get("battery_ok")
        if what == "RTL_433toMQTT" and isinstance(level, float) and 0 <= level <= 1:
            if level in (0, 1):
                values["battery_ok"] = bool(level)
            else:  # some tell how full it is: a metric is either yes or no, or a number
                del values["battery_ok"]
                values["battery"] = round(level * 100, 3)
        return values


def _kind(metric: str, data: dict[str, Any]) -> tuple[str, str]:
    last = metric.rpartition(".")[2]
    if last == "temp" and texts(data, "unit") in ("C", "F"):
        return f"°{data['unit']}", "temperature"
    return _KINDS.get(last, ("", ""))


def _device(gateway: str, what: str, rest: list[str], data: dict[str, Any]) -> str:
    """Who it is about: a device that is heard, or the gateway where that cannot be told."""
    if what in ("BTtoMQTT", "BLEtoMQTT"):
        return "/".join(rest) or texts(data, "id").replace(":", "") or gateway
    if what == "RTL_433toMQTT" and texts(data, "model"):
        parts = [data.get(key) for key in ("model", "channel", "id")]
        return "-".join(str(part)[:64] for part in parts if isinstance(part, str | int))
    if what == "LORAtoMQTT" and rest:
        return "/".join(rest)
    return gateway
