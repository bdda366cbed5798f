"""Bytes to readings: what a codec does, and what it may be able to do."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gateway.core.contracts.readings import Value


class Codec(Protocol):
    """Bytes to readings. One instance serves one source and may keep caches."""

    def decode(
        self, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[int | None, dict[str, Value]]]:
        """(time in ns or None where the payload has none, values) of each report in `payload`.

        Raises DecodeError; a payload is taken whole or not at all.
        """
        ...


@runtime_checkable
class Plain(Protocol):
    """A codec with a quick way for payloads that are like those before."""

    def plain(self, payloads: Sequence[bytes]) -> Sequence[dict[str, Value] | None]:
        """What is in each payload by name, if that is one flat object; None where it is not, or
        may be over a limit. It is what `decode` would give if that has given, of another payload
        with the same names in the same order, one report without a time and with these names.
        Never raises."""
        ...


@runtime_checkable
class Addressed(Protocol):
    """A codec that goes by the topic, or whose payloads tell of several devices."""

    def addressed(
        self, topic: str, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[str, int | None, dict[str, Value]]]:
        """As `decode`; with each report the original name of its device, or "" for the device that
        the topic names, whose id `device` is. There may be no report where a payload is of no
        concern."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A codec that knows units; or a device whose frames have codecs of their own."""

    def units(self, device: str) -> Mapping[str, str]:
        """Unit by metric, as far as the configuration or the device itself has told."""
        ...


@dataclass(slots=True)
class About:
    """What a device told of itself, or somebody of it. family: how it speaks, such as "Tasmota".
    name: for people. online: what it or its last will said last; None: nothing. units, classes: by
    metric; a class is a device class of Home Assistant, such as "temperature". commands: the topic
    on which each is given, by name. unread: metrics that were announced but cannot be read, and
    why."""

    family: str
    name: str = ""
    model: str = ""
    manufacturer: str = ""
    firmware: str = ""
    online: bool | None = None
    units: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Introducing(Protocol):
    """A codec that is told what its devices are."""

    def about(self, name: str) -> About | None:
        """A device by its original name; None where nothing was told of it."""
        ...

    def gone(self) -> Collection[str]:
        """Devices that are not there, by their own or their last will's word; original names."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A codec that now and then needs something of whoever sends. ask: publishes a payload on a
    topic; set from outside where the source is Publishing."""

    ask: Callable[[str, bytes], None] | None


@dataclass(frozen=True, slots=True)
class HostState:
    """Where senders look whether somebody hears them. message: the payload, which is retained, by
    whether we are online and the time since when (ms)."""

    topic: str
    message: Callable[[bool, int], bytes]


class Names(Protocol):
    """Who has a name that several devices of one source share: the same after a restart. kind: by
    what they are told apart, such as "family" or "key"; owner: that of the one that has it."""

    def owner(self, kind: str, name: str) -> str | None:
        """Who has a name; None where nobody has."""
        ...

    def claim(self, kind: str, name: str, owner: str) -> None:
        """Whose a name is from now on."""
        ...

    def is_known(self, original: str) -> bool:
        """Whether there is a device with this original name."""
        ...


@runtime_checkable
class Naming(Protocol):
    """A codec whose devices may share names. shared_names: set from outside before it is used."""

    shared_names: Names
