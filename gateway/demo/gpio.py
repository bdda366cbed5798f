"""A valve and a lamp at the GPIO header, on mock pins; the valve is opened now and then."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from paho.mqtt import publish

from gateway.demo.site import Place

_EVERY, _OPEN = 40.0, 10.0
_TOPIC = "berrygate/nursery/cmd/irrigation/valve"


class Gpio:
    """See gateway.demo.parts.Part. The pins are in the gateway's process, which is told to have
    mock ones."""

    needs: ClassVar[str] = "gpiozero"
    devices: ClassVar[Sequence[str]] = ("irrigation",)
    hints: ClassVar[Mapping[str, str]] = {
        "irrigation": "mock pins: berrygate devices command irrigation lamp value=0.5"
    }

    def __init__(self, place: Place) -> None:
        self._broker = place.broker

    def sources(self) -> list[dict[str, Any]]:
        """See gateway.demo.parts.Part."""
        pins = {"valve": {"kind": "relay", "pin": 17}, "lamp": {"kind": "pwm", "pin": 18}}
        return [{"type": "gpio", "id": "irrigation", "pins": pins, "interval": "10s"}]

    async def run(self) -> None:
        """See gateway.demo.parts.Part."""
        order = json.dumps({"args": {"value": "on", "for": f"{_OPEN:g}s"}})
        tell = partial(publish.single, _TOPIC, order, qos=1, port=self._broker)
        while True:
            await asyncio.sleep(_EVERY)
            await asyncio.to_thread(tell)
