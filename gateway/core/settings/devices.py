"""What every source and every codec has; their drivers add the rest."""

from collections.abc import Mapping, Sequence

from gateway.core.contracts import Codec, Context, Device, Endpoint, HostState
from gateway.core.settings.model import Id, Settings


class CodecSettings(Settings):
    """How a payload becomes readings."""

    type: str
    """Which codec."""

    def host_state(self) -> HostState | None:
        """What a source that hears senders of this kind publishes of itself; None: nothing."""
        return None

    def build(self) -> Codec:
        """The codec, for one source."""
        raise NotImplementedError


class DeviceSettings(Settings):
    """What every source has."""

    type: str
    """Which driver."""
    id: Id | None = None
    """The source's name; defaults to its type, with a number where that is taken."""

    def listens(self, broker: Endpoint) -> tuple[Endpoint, Sequence[str]] | None:
        """An MQTT broker, and the topic filters there that readings come from; None where they
        come otherwise. broker: the gateway's. No bridge may publish there: see gateway.config."""
        return None

    def claims(self) -> Mapping[tuple[str, ...], str]:
        """What of this machine it takes for itself alone, such as a pin, by the place of the key
        that says so. No two may claim one: see gateway.config.claims."""
        return {}

    def build(self, name: str, context: Context) -> Device:
        """The driver. name: `id`, or the default for it."""
        raise NotImplementedError
