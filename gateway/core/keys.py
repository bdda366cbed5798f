"""Keys that devices share with a source. No I/O."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Keyed(Protocol):
    """A source that issues keys to its devices while it runs. Everything raises ConfigError or
    Unavailable, and is to be called on the event loop."""

    def keyed(self) -> Sequence[str]:
        """The devices, by their names there, that have a key which was issued."""
        ...

    def issue_key(self, device: str) -> Mapping[str, str]:
        """A new key, in place of the one that the device had; at work once this returns."""
        ...

    def revoke_key(self, device: str) -> None:
        """The device's key is worth nothing from now on."""
        ...
