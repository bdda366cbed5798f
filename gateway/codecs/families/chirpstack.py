"""ChirpStack v4: `application/<application>/device/<EUI>/event/<up, status, join, location …>`.

Metrics are those of `object` and how well it was heard (see The Things Stack); `status` gives
`battery` and `margin`. The device is called by its name there. The time is when the network
received it.
"""

from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.lorawan import cayenne, heard, placed, timed
from gateway.codecs.families.parts import Told, flat, objects, pruned, texts, tree
from gateway.codecs.reports import value_of
from gateway.core.contracts import About, Value

_FAMILY = "ChirpStack"


class ChirpStack:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = ("application/+/device/+/event/+",)

    def __init__(self, known: Known) -> None:
        self._known = known

    def device_of(self, topic: str) -> str | None:
        """See Family. The name is in the payload only."""
        match topic.split("/"):
            case ["application", application, "device", eui, "event", _] if application and eui:
                return ""
        return None

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        _, application, _, eui, _, what = topic.split("/")
        if what not in ("up", "status", "location"):
            return ()
        data = tree(payload)
        info = data.get("deviceInfo")
        device = self._known.named(texts(info, "deviceName") or eui, eui)
        about = self._known.of(device, _FAMILY)
        self._known.tell(
            about,
            name=texts(info, "deviceName"),
            model=texts(info, "deviceProfileName"),
        )
        self._known.command(
            about, "downlink", f"application/{application}/device/{eui}/command/down"
        )
        made = {"up": self._up, "status": self._status, "location": self._location}[what]
        values = made(about, data)
        return [(device, timed(texts(data, "time")), values)] if values else ()

    def _up(self, about: About, data: dict[str, Any]) -> dict[str, Value]:
        decoded, values = data.get("object"), dict[str, Value]()
        if isinstance(decoded, dict):
            _, values = flat(pruned(decoded, ("time", "ts", "timestamp")))
        raw = texts(data, "data")
        if raw and not values:
            values["data"] = value_of("data", raw)
        found: object = data.get("txInfo")
        for key in ("modulation", "lora"):
            found = found.get(key) if isinstance(found, dict) else None
        spread = found.get("spreadingFactor") if isinstance(found, dict) else None
        gateways = objects(data.get("rxInfo"), 100)
        cayenne(self._known, about, values)
        return values | heard(self._known, about, gateways, data.get("fCnt"), spread)

    def _status(self, about: About, data: dict[str, Any]) -> dict[str, Value]:
        values: dict[str, Value] = {}
        battery, margin = data.get("batteryLevel"), data.get("margin")
        if isinstance(battery, float | int) and data.get("batteryLevelUnavailable") is not True:
            values["battery"] = value_of("battery", float(battery))
            self._known.measure(about, "battery", "%", "battery")
        if isinstance(margin, float | int):
            values["margin"] = value_of("margin", float(margin))
            self._known.measure(about, "margin", "dB")
        if isinstance(data.get("externalPowerSource"), bool):
            values["external_power"] = data["externalPowerSource"]
        return values

    def _location(self, about: About, data: dict[str, Any]) -> dict[str, Value]:
        return placed(self._known, about, data.get("location"))
