"""ThingsBoard's gateway API: `v1/gateway/telemetry`, `…/connect`, `…/disconnect`, `…/attributes`.

Each payload names its devices. One that speaks after its `disconnect` is there again. A device's
type is its model; text attributes that tell a model or a firmware are noted, others are no
readings.
"""

from collections.abc import Iterable
from typing import Any

from gateway.codecs.families.known import Known
from gateway.codecs.families.parts import Told, flat, texts, tree
from gateway.codecs.reports import MAX_REPORTS
from gateway.core.errors import DecodeError

_FAMILY = "ThingsBoard gateway"
_BASE = "v1/gateway/"
_WHAT = frozenset(("telemetry", "connect", "disconnect", "attributes"))
_FIRMWARE = ("fwVersion", "fw_version", "firmwareVersion", "firmware", "sw_version")
_MODEL = ("model", "deviceModel", "type")


class ThingsBoard:
    """See gateway.codecs.families.Family."""

    name = _FAMILY
    filters: tuple[str, ...] = tuple(f"{_BASE}{what}" for what in sorted(_WHAT))

    def __init__(self, known: Known) -> None:
        self._known = known

    def device_of(self, topic: str) -> str | None:
        """See Family. Devices are named in the payload only."""
        return "" if topic.startswith(_BASE) and topic[len(_BASE) :] in _WHAT else None

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        what, data = topic[len(_BASE) :], tree(payload)
        if what == "telemetry":
            return self._telemetry(data)
        if what == "attributes":
            self._attributes(data)
            return ()
        device = texts(data, "device")
        if not device:
            raise DecodeError('no "device" in it', reason="device")
        about = self._known.of(device, _FAMILY)
        self._known.tell(about, name=device, model=texts(data, "type"))
        about.online = what == "connect"
        return [(device, None, {"online": about.online})]

    def _telemetry(self, data: dict[str, Any]) -> list[Told]:
        found: list[Told] = []
        for device, given in data.items():
            if not device:
                raise DecodeError("a device without a name", reason="device")
            about = self._known.of(device, _FAMILY)
            self._known.tell(about, name=device)
            for report in given if isinstance(given, list) else [given]:
                if not isinstance(report, dict):
                    raise DecodeError("telemetry that is no object")
                if len(found) >= MAX_REPORTS:
                    raise DecodeError(f"more than {MAX_REPORTS} reports", reason="too_many")
                inner = report.get("values")
                if isinstance(inner, dict):
                    when, values = flat({**inner, "ts": report.get("ts")})
                else:
                    when, values = flat(report)
                if not values:
                    continue
                if about.online is False:
                    # Not every gateway says `connect` again: who speaks is there.
                    about.online = True
                    found.append((device, None, {"online": True}))
                found.append((device, when, values))
        return found

    def _attributes(self, data: dict[str, Any]) -> None:
        for device, given in data.items():
            if device and isinstance(given, dict):
                self._known.tell(
                    self._known.of(device, _FAMILY),
                    name=device,
                    firmware=next((given[key] for key in _FIRMWARE if key in given), ""),
                    model=next((given[key] for key in _MODEL if key in given), ""),
                )
