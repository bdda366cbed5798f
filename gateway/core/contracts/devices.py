"""What a source does, and what it may be able to do."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, runtime_checkable

from gateway.core.contracts.bursts import Burst
from gateway.core.contracts.codecs import Codec


@runtime_checkable
class Device(Protocol):
    """A source. It connects, reads, and reconnects by itself until its iterator is closed.

    name: the source's id in config, ledger and health; unique among devices.
    """

    name: str

    def listen(self) -> AsyncIterator[Burst]:
        """Bursts, as they come. Ends only when closed; raises Denied or ConfigError to stop."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A device that knows how it is doing. trouble: why it hears nothing at the moment, or "";
    denied: whether a person must act first. dropped: frames it had to throw away, by reason.
    retained: messages that only told a last state."""

    trouble: str
    denied: bool
    dropped: Mapping[str, int]
    retained: int


@runtime_checkable
class Detailed(Protocol):
    """A device with more to say of itself. concern: what is wrong although data comes, or ""."""

    @property
    def concern(self) -> str: ...

    def details(self) -> Mapping[str, Any]:
        """For the status, JSON; must not block."""
        ...


@runtime_checkable
class Described(Protocol):
    """A device that can say what it is: model, units, source protocol."""

    def info(self) -> Mapping[str, Any]:
        """For `meta/<device>/info`; may read files."""
        ...


@runtime_checkable
class TopicMapped(Protocol):
    """A device whose frames carry topics that name the device they come from."""

    def device_of(self, topic: str) -> str:
        """The original device name in `topic` (not yet an id). Raises DecodeError."""
        ...


@runtime_checkable
class Recoding(Protocol):
    """A device that knows by itself how some of its frames are written."""

    def recoded(self, codec: Codec) -> Codec:
        """The codec for all of them; `codec` is for those it does not know."""
        ...


@runtime_checkable
class Several(Protocol):
    """A source of several devices at wires of ours, each by its original name: such a device is
    offline as soon as its source says so."""

    def trouble_of(self, device: str) -> str:
        """Why nothing comes from it at the moment, or ""."""
        ...

    def info_of(self, device: str) -> Mapping[str, Any]:
        """As Described.info, of one of them; may read files."""
        ...


@runtime_checkable
class CodecMapped(Protocol):
    """A device whose frames carry topics that say how they are written."""

    def codec_of(self, topic: str) -> Codec:
        """The codec for frames with that topic. Raises DecodeError."""
        ...


@runtime_checkable
class Publishing(Protocol):
    """A source that can publish where it hears."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Soon, at most once. To be called on the event loop."""
        ...
