"""What a family of devices is to the recogniser."""

from collections.abc import Iterable
from typing import Protocol

from gateway.codecs.families.parts import Told


class Family(Protocol):
    """Devices that speak alike. name: for people. filters: the topics they use."""

    name: str
    filters: tuple[str, ...]

    def device_of(self, topic: str) -> str | None:
        """The original name of the device that a topic tells of; "" where it tells of none or of
        several, None where it is none of this family's. The same for a topic for ever, or else the
        recogniser is told."""
        ...

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """The readings in a payload on a topic of this family; what it tells of devices is noted.
        Raises DecodeError; a payload is taken whole or not at all."""
        ...
