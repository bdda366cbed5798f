"""What decoding is given beside the frames, and what it makes of them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.contracts import Reading, Value


class Registry(Protocol):
    """What decoding needs of the device registry."""

    def id_of(self, original: str, source: str) -> str:
        """The device's id. Raises DecodeError."""
        ...

    def admit(self, device: str, values: dict[str, Value]) -> dict[str, Value]:
        """`values`, if the device may have these metrics. Raises DecodeError."""
        ...

    def delayed(self, device: str, seconds: float) -> None:
        """A reading came so long after the time that the device itself gave it."""
        ...

    def refused(self, device: str, count: int) -> None:
        """So many messages of a device, or "" for whoever is none, were over its rate."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """payload, topic: the largest taken (bytes). rate: messages a second from one device, 0 for
    any number; burst: how many more at once after it was quiet."""

    payload: int = 256_000
    topic: int = 256
    rate: int = 0
    burst: int = 1


@dataclass(slots=True)
class Bad:
    """A frame that could not be decoded. place: where in its burst."""

    device: str
    topic: str
    payload: bytes
    reason: str
    detail: str
    place: int = 0


@dataclass(slots=True)
class Decoded:
    """What a burst came to. frames: how many frames the readings come from. size: their bytes.
    over: frames over their device's rate, by device; they are not looked at. over_at: their places
    in the burst. ignored: frames of devices that are not wanted, likewise; left_out: reports of
    such devices in frames of others."""

    readings: list[Reading] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    frames: int = 0
    size: int = 0
    over: Counter[str] = field(default_factory=Counter)
    over_at: list[int] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
