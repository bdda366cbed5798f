"""Devices that publish over MQTT: plain JSON, and SenML with units. One sends rubbish now and then,
one comes later."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.demo.site import Day, Place

LATE = 15.0
"""When the one that comes later does (s)."""
_EVERY = 2.0
_RUBBISH = (
    b'{"temperature": -18.', b"<html>502 Bad Gateway</html>", b'{"temperature": }', b"\xff\xfe\x00",
)  # fmt: skip
_BAD = 3  # each so many message is none

Make = Callable[[Day], bytes]


@dataclass(frozen=True, slots=True)
class _Device:
    name: str
    topic: str
    make: Make
    after: float = 0.0
    bad: bool = False


def _json(**values: Any) -> bytes:
    return json.dumps(values).encode()


def _senml(**values: tuple[str, float]) -> bytes:
    """Values with their units (RFC 8428)."""
    return json.dumps([{"n": n, "u": unit, "v": v} for n, (unit, v) in values.items()]).encode()


def _greenhouse(base: float) -> Make:
    def make(day: Day) -> bytes:
        warmth, sun = day.warmth(), day.sun()
        return _senml(
            temperature=("Cel", day.about(base + 6 * warmth + 3 * sun, 0.1)),
            humidity=("%RH", day.about(68 - 14 * warmth, 0.4)),
            co2=("ppm", day.about(640 - 220 * sun, 6, 0)),
        )

    return make


def _solar(day: Day) -> bytes:
    power = max(day.about(4_200 * day.sun(), 60, 0), 0.0)
    return _senml(
        power=("W", power),
        voltage=("V", day.about(380 if power else 0, 2)),
        energy=("kWh", round(14 + day.passed * 1.9, 2)),
    )


def _soil(wet: float, hours: float) -> Make:
    """It dries out, and is watered each so many hours."""

    def make(day: Day) -> bytes:
        dry = (day.passed % hours) / hours
        return _json(
            moisture=day.about(wet - 18 * dry, 0.2),
            temperature=day.about(15 + 3 * day.warmth(4), 0.1),
            battery=round(max(92 - day.passed / 4, 5), 1),
        )

    return make


def _pump(day: Day) -> bytes:
    runs = day.hour % 3 < 1
    return _json(
        on=runs,
        power=day.about(340, 4, 0) if runs else 0.0,
        flow={"rate": day.about(22, 0.3) if runs else 0.0, "total": round(80 + day.passed * 440)},
    )


def _freezer(day: Day) -> bytes:
    return _json(temperature=day.about(-18.5, 0.3), door=False)


def _beehive(day: Day) -> bytes:
    return _json(
        weight=day.about(41 + day.sun(), 0.05, 2), temperature=day.about(34.6, 0.1),
        sound={"level": day.about(38 + 9 * day.sun(), 1)},
    )  # fmt: skip


_PLAIN = "devices/{}/telemetry"
_WITH_UNITS = "nursery/{}/senml"
_DEVICES = (
    _Device("greenhouse-north", _WITH_UNITS, _greenhouse(19)),
    _Device("greenhouse-south", _WITH_UNITS, _greenhouse(22)),
    _Device("solar", _WITH_UNITS, _solar),
    _Device("soil-1", _PLAIN, _soil(46, 3)),
    _Device("soil-2", _PLAIN, _soil(41, 4)),
    _Device("soil-3", _PLAIN, _soil(52, 6)),
    _Device("pump", _PLAIN, _pump),
    _Device("freezer", _PLAIN, _freezer, bad=True),
    _Device("beehive", _PLAIN, _beehive, after=LATE),
)


class Mqtt:
    """See gateway.demo.parts.Part; each device is a client of its own."""

    needs: ClassVar[str] = "paho"
    devices: ClassVar[Sequence[str]] = tuple(each.name for each in _DEVICES)
    hints: ClassVar[Mapping[str, str]] = {
        "freezer": "each third message is rubbish: berrygate bridges dead-letters gadgets",
        "beehive": f"appears after {LATE:g} s",
    }

    def __init__(self, place: Place) -> None:
        self._place = place

    def sources(self) -> list[dict[str, Any]]:
        """See gateway.demo.parts.Part."""
        topics = [_WITH_UNITS.format("+")]
        return [
            {"type": "mqtt", "id": "gadgets"},
            {"type": "mqtt", "id": "sensors", "topics": topics, "codec": "senml"},
        ]

    async def run(self) -> None:
        """See gateway.demo.parts.Part."""
        async with asyncio.TaskGroup() as group:
            for device in _DEVICES:
                group.create_task(self._speak(device))

    async def _speak(self, device: _Device) -> None:
        await asyncio.sleep(device.after)
        client = paho.Client(CallbackAPIVersion.VERSION2, f"demo-{device.name}")
        client.connect_async("127.0.0.1", self._place.broker)
        client.loop_start()
        topic, count = device.topic.format(device.name), 0
        try:
            while True:
                count += 1
                rubbish = device.bad and count % _BAD == 0
                payload = _RUBBISH[count // _BAD % len(_RUBBISH)] if rubbish else None
                client.publish(topic, payload or device.make(self._place.day), 1)
                await asyncio.sleep(_EVERY)
        finally:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)
