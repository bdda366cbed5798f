"""Devices that send over CoAP, and are told when it is stored."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from gateway.demo.site import Day, Place

log = logging.getLogger(__name__)

_EVERY = 3.0
_JSON, _SENML_JSON = 50, 110  # Content-Formats (RFC 7252, RFC 8428)


def _weather(day: Day) -> bytes:
    gust = day.about(3 + 2 * day.sun(), 0.8)
    return json.dumps(
        [
            {"n": "temperature", "u": "Cel", "v": day.about(9 + 6 * day.warmth(), 0.1)},
            {"n": "pressure", "u": "hPa", "v": day.about(1_013 + day.warmth(5), 0.1)},
            {"n": "wind", "u": "m/s", "v": max(gust, 0.0)},
            {"n": "irradiance", "u": "W/m2", "v": max(day.about(820 * day.sun(), 8, 0), 0.0)},
        ]
    ).encode()


def _tank(day: Day) -> bytes:
    used = day.passed * 0.7 % 60
    return json.dumps({"level": day.about(92 - used, 0.1), "valve": used < 1}).encode()


_DEVICES: dict[str, tuple[int, Callable[[Day], bytes]]] = {
    "weather": (_SENML_JSON, _weather),
    "tank": (_JSON, _tank),
}


class Coap:
    """See gateway.demo.parts.Part."""

    needs: ClassVar[str] = "aiocoap"
    devices: ClassVar[Sequence[str]] = tuple(_DEVICES)
    hints: ClassVar[Mapping[str, str]] = {}

    def __init__(self, place: Place) -> None:
        self._place = place

    def sources(self) -> list[dict[str, Any]]:
        """See gateway.demo.parts.Part."""
        return [{"type": "coap", "port": self._place.coap}]

    async def run(self) -> None:
        """See gateway.demo.parts.Part."""
        import aiocoap  # an extra of the gateway's

        context = await aiocoap.Context.create_client_context()
        try:
            async with asyncio.TaskGroup() as group:
                for name in _DEVICES:
                    group.create_task(self._speak(aiocoap, context, name))
        finally:
            await context.shutdown()

    async def _speak(self, aiocoap: Any, context: Any, name: str) -> None:
        content_format, make = _DEVICES[name]
        uri = f"coap://127.0.0.1:{self._place.coap}/telemetry/{name}"
        while True:
            request = aiocoap.Message(
                code=aiocoap.POST, uri=uri, payload=make(self._place.day),
                content_format=content_format,
            )  # fmt: skip
            try:
                await context.request(request).response
            except (aiocoap.error.Error, OSError) as error:
                log.info("%s: %s", name, error)  # the next one is on its way anyway
            await asyncio.sleep(_EVERY)
