"""Which family a topic belongs to, and what its payload says.

What none of them recognises goes to the source's own codec if it is on the source's own topics; on
another one, which a filter as wide as `+/status/+` brings, it is of no concern.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from gateway.codecs.families.chirpstack import ChirpStack
from gateway.codecs.families.family import Family
from gateway.codecs.families.homeassistant import HomeAssistant
from gateway.codecs.families.homie import Homie
from gateway.codecs.families.known import Known
from gateway.codecs.families.openmqttgateway import OpenMqttGateway
from gateway.codecs.families.parts import Told
from gateway.codecs.families.shelly1 import Shelly1
from gateway.codecs.families.shelly2 import Shelly2
from gateway.codecs.families.tasmota import Tasmota
from gateway.codecs.families.thinedge import ThinEdge
from gateway.codecs.families.thingsboard import ThingsBoard
from gateway.codecs.families.thingsstack import ThingsStack
from gateway.codecs.families.zigbee2mqtt import Zigbee2Mqtt
from gateway.codecs.reports import Report
from gateway.core.contracts import About, Addressed, Codec, Measured, Names, Plain, Value
from gateway.core.errors import DecodeError
from gateway.core.topics import covers

_MOST_TOPICS = 20_000  # whose family is remembered
_FIXED: tuple[Callable[[Known], Family], ...] = (
    Tasmota, Shelly1, Zigbee2Mqtt, Homie, ThingsStack, ChirpStack, ThingsBoard, ThinEdge,
    OpenMqttGateway, Shelly2,
)  # fmt: skip
_LATER = "+/+/LWT"  # of OpenMQTTGateway, from an earlier run: no news before it has spoken
_NOTHING: Mapping[str, str] = {}


def filters() -> tuple[str, ...]:
    """The topics that families use by themselves."""
    known = Known()
    found = [family(known) for family in _FIXED]
    found.append(HomeAssistant(known, lambda topic: False, lambda topic, wanted: None))
    return tuple(topic for family in found for topic in family.filters)


class FamiliesCodec:
    """See the module. default: the source's own codec. own: whether a topic is one of the source's
    own. listen, ours: see HomeAssistant."""

    def __init__(
        self,
        default: Codec,
        own: Callable[[str], bool],
        listen: Callable[[str, bool], None] = lambda topic, wanted: None,
        ours: Callable[[str], bool] = lambda topic: False,
    ) -> None:
        self._default = default
        able: object = default
        self._addressed = able.addressed if isinstance(able, Addressed) else None
        self._plain = able.plain if isinstance(able, Plain) else None
        self._measured = able if isinstance(able, Measured) else None
        self._own = own
        self._listen_to = listen
        self.known = Known()
        self._fixed = [family(self.known) for family in _FIXED]
        self._announced = HomeAssistant(self.known, self._taken, self._listen, ours, self._whose)
        for family in self._fixed:
            if isinstance(family, Tasmota | OpenMqttGateway):
                family.listen = self._listen
        self._filters = filters()
        self._of: dict[str, Family | None] = {}

    # -- which family -----------------------------------------------------------------------------

    def family(self, topic: str) -> Family | None:
        """Whose a topic is; None where it is no family's."""
        try:
            return self._of[topic]
        except KeyError:
            return self._meet(topic)

    def _meet(self, topic: str) -> Family | None:
        found = self._reader(topic)
        if found is None and self._announced.device_of(topic) is not None:
            found = self._announced
        if found is None and not self._own(topic):
            return None  # as long as nobody has told more of it
        if len(self._of) >= _MOST_TOPICS:
            self._of.clear()
        self._of[topic] = found
        return found

    def _reader(self, topic: str) -> Family | None:
        """The family that reads a topic without an announcement; None where there is none."""
        return next((each for each in self._fixed if each.device_of(topic) is not None), None)

    def _covered(self, topic: str) -> bool:
        return any(covers(each, topic) for each in self._filters)

    def _taken(self, topic: str) -> bool:
        """Whether an announced topic is read already, by another family or by the source."""
        return self._own(topic) or self._reader(topic) is not None

    def _whose(self, topic: str) -> str | None:
        """Which other family has such topics, told of already or not; "" for the source's own, None
        for nobody's."""
        if self._own(topic):
            return ""
        if (reader := self._reader(topic)) is not None:
            return reader.name
        for family in self._fixed:
            later = (_LATER,) if isinstance(family, OpenMqttGateway) else ()
            if any(covers(each, topic) for each in (*family.filters, *later)):
                return family.name
        return None

    def _listen(self, topic: str, wanted: bool) -> None:
        if not wanted:
            self._of.pop(topic, None)
        if not self._covered(topic) and not self._own(topic):
            self._listen_to(topic, wanted)

    def device_of(self, topic: str) -> str | None:
        """The original name of the device that a topic tells of, "" where it is of a family and
        tells of none, None where it is no family's."""
        family = self.family(topic)
        if family is None:
            return None if self._own(topic) else ""
        device = family.device_of(topic)
        return self._called(device, family) if device else device

    def _called(self, device: str, family: Family) -> str:
        """What a family's device is called among those of all families."""
        if family is not self._announced:  # which has its names from the announcements
            device = self.known.called(device, family.name)
        return self.known.written(device)

    # -- what it says -----------------------------------------------------------------------------

    def decode(self, device: str, payload: bytes, received: int) -> Iterable[Report]:
        """What the source's own codec makes of it. Raises DecodeError."""
        return self._default.decode(device, payload, received)

    def addressed(self, topic: str, device: str, payload: bytes, received: int) -> Iterable[Told]:
        """See gateway.core.contracts.Addressed. Raises DecodeError, with reason unannounced where a
        topic was announced once, and is not yet again."""
        family = self.family(topic)
        if family is not None:
            if not payload and family is not self._announced:
                return ()  # somebody clears what was retained
            told = family.told(topic, payload)
            return [(self._called(name, family), time, values) for name, time, values in told]
        if self._own(topic):
            if self._addressed is not None:
                return self._addressed(topic, device, payload, received)
            found = self._default.decode(device, payload, received)
            return [("", time, values) for time, values in found]
        if self._covered(topic) or covers(_LATER, topic):
            return ()
        raise DecodeError(
            f'nobody has announced what "{topic[:100]}" is',
            reason="unannounced",
            fix="retry the dead letters once the device has announced itself again",
        )

    def plain(self, payloads: Sequence[bytes]) -> Sequence[dict[str, Value] | None]:
        """See gateway.core.contracts.Plain."""
        return [None] * len(payloads) if self._plain is None else self._plain(payloads)

    def retained(self, topic: str, payload: bytes) -> bool:
        """A retained message has come; True if it told of devices, and of no state. Raises
        DecodeError."""
        family = self.family(topic)
        return family is not None and not family.told(topic, payload)

    @property
    def shared_names(self) -> Names:
        """See gateway.core.contracts.Naming."""
        return self.known.names

    @shared_names.setter
    def shared_names(self, names: Names) -> None:
        self.known.names = names

    # -- what is known ----------------------------------------------------------------------------

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        return self._measured.units(device) if self._measured is not None else _NOTHING

    def about(self, name: str) -> About | None:
        """See gateway.core.contracts.Introducing."""
        return self.known.get(name)

    def gone(self) -> Collection[str]:
        """See gateway.core.contracts.Introducing."""
        return [self.known.written(device) for device in self.known.gone()]
