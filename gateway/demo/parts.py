"""The protocols of the demo. To add one: a file beside this one with a Part, and its name here."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from gateway.demo.coap import Coap
from gateway.demo.gpio import Gpio
from gateway.demo.modbus import Modbus
from gateway.demo.mqtt import Mqtt
from gateway.demo.serial import Serial
from gateway.demo.site import Place


class Part(Protocol):
    """Simulated devices of one protocol. needs: a module without which the gateway cannot speak it;
    devices: the ids they will have; hints: what is special about some, by id."""

    needs: ClassVar[str]
    devices: ClassVar[Sequence[str]]
    hints: ClassVar[Mapping[str, str]]

    def sources(self) -> list[dict[str, Any]]:
        """For `devices:` of the gateway's configuration."""
        ...

    async def run(self) -> None:
        """Speak, until cancelled; leave nothing behind then."""
        ...


def parts(place: Place) -> list[Part]:
    """All of them."""
    return [Mqtt(place), Coap(place), Serial(place), Modbus(place), Gpio(place)]
