"""Whatever announces itself by Home Assistant's MQTT discovery, ESPHome among it:
`homeassistant/<component>/[<node>/]<object>/config`, retained.

An announcement tells the device, its model, and of each entity the name, unit, class, topic and
template. A metric is the entity's name in small letters, with `_` between words. Topics that
another family reads, or the source itself, are left to them. An entity whose template is not
understood is told once and never guessed at.
"""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.codecs.families.announcements import PREFIX, Announced, announced, is_announcement
from gateway.codecs.families.entities import AVAILABILITY, Reader, readers
from gateway.codecs.families.known import Known, Words
from gateway.codecs.families.parts import LARGEST, Told, text_of, texts, tree
from gateway.codecs.families.templates import Scope
from gateway.codecs.json import parse
from gateway.codecs.reports import MAX_NAME, metric_name
from gateway.core.contracts import About, Value
from gateway.core.errors import DecodeError

log = logging.getLogger(__name__)

FAMILY = "Home Assistant discovery"
_MOST = 20_000  # entities
_MOST_TOPICS = 10_000
_HEAVIEST = 5_000  # words and signs in all templates of one topic: some 10 ms
_NO_STATE = frozenset((
    "button", "camera", "device_automation", "image", "notify", "scene", "tag", "update", "vacuum",
    "event", "device_tracker",
))  # fmt: skip
_SAID = (("payload_on", "ON"), ("payload_off", "OFF"))
_NOT_WORD = re.compile(r"\W+")


@dataclass(slots=True)
class _Entity:
    """What one announcement came to. topics: those it is read from."""

    topics: set[str] = field(default_factory=set)


class HomeAssistant:
    """See gateway.codecs.families.Family. taken: whether a topic is read by somebody else.
    listen: told the topics that are to be subscribed to besides (True), or no longer (False). ours:
    whether a topic is the gateway's own: what it announces itself is passed over. whose: which
    other family has such topics, "" for the source's own: a device with one is theirs, announced
    besides."""

    name = FAMILY
    filters: tuple[str, ...] = (f"{PREFIX}+/+/config", f"{PREFIX}+/+/+/config")

    def __init__(
        self,
        known: Known,
        taken: Callable[[str], bool],
        listen: Callable[[str, bool], None],
        ours: Callable[[str], bool] = lambda topic: False,
        whose: Callable[[str], str | None] = lambda topic: None,
    ) -> None:
        self._known = known
        self._whose = whose
        self._taken = taken
        self._listen = listen
        self._ours = ours
        self._entities: dict[str, dict[str, _Entity]] = {}  # by config topic and key
        self._count = 0
        self._readers: dict[str, dict[str, list[Reader]]] = {}  # by topic and entity
        self._weights: dict[str, int] = {}  # of a topic's templates
        self._heard: dict[str, dict[str, bool]] = {}  # of who is there, by topic and source
        self._metrics: dict[tuple[str, str], str] = {}  # whose a device's metric is

    def device_of(self, topic: str) -> str | None:
        """See Family."""
        if topic in self._readers:
            for found in self._readers[topic].values():
                return found[0].device
        return "" if is_announcement(topic) else None

    @property
    def topics(self) -> frozenset[str]:
        """What is read besides announcements."""
        return frozenset(self._readers)

    def told(self, topic: str, payload: bytes) -> Iterable[Told]:
        """See Family."""
        if is_announcement(topic):
            self._announced(topic, payload)
            return ()
        return self._read(topic, payload)

    # -- states ---------------------------------------------------------------------------------

    def _read(self, topic: str, payload: bytes) -> list[Told]:
        if len(payload) > LARGEST:
            raise DecodeError(f"payload of {len(payload)} bytes", reason="too_long")
        if not payload:
            return []
        found = [reader for each in self._readers.get(topic, {}).values() for reader in each]
        scope: Scope = {}
        if any(reader.template.json for reader in found):
            scope["value_json"] = parse(payload)
        if any(not reader.template.json for reader in found):
            scope["value"] = text_of(payload)
        by_device: dict[str, dict[str, Value]] = {}
        for reader in found:
            for part, read in reader.read(scope):
                given = self._there(reader, read)
                if given is None:
                    continue
                metric = metric_name(f"{reader.metric}.{part}" if part else reader.metric)
                by_device.setdefault(reader.device, {})[metric] = given
                if metric == AVAILABILITY and isinstance(given, bool):
                    self._known.one(reader.device, FAMILY).online = given
        return [(device, None, values) for device, values in by_device.items()]

    def _there(self, reader: Reader, given: Value) -> Value | None:
        """What a word comes to with the last ones on the entity's other topics, if it is one of
        whether the device is there; others stay as they are."""
        entity = reader.availability
        if entity is None or not isinstance(given, bool):
            return given
        self._heard.setdefault(reader.topic, {})[reader.source] = given
        read = [each for each in entity.sources if each[0] in self._readers]
        return entity.of(given, [self._heard.get(topic, {}).get(each) for topic, each in read])

    # -- announcements --------------------------------------------------------------------------

    def _announced(self, topic: str, payload: bytes) -> None:
        data = tree(payload) if payload.strip() else {}
        before = self._entities.pop(topic, {})
        self._count -= len(before)
        old = {each for entity in before.values() for each in entity.topics}
        for each in old:
            for key in before:
                gone = self._readers[each].pop(key, ())
                self._weights[each] -= sum(reader.template.weight for reader in gone)
        try:
            for entity in announced(topic, data) if data else ():
                self._meet(topic, entity)
        finally:
            for each in old:
                self._forget_words(each)
                if not self._readers.get(each):
                    self._readers.pop(each, None)
                    self._weights.pop(each, None)
                    self._listen(each, False)

    def _forget_words(self, topic: str) -> None:
        """What was said there to whoever does not read it any more."""
        if topic in self._heard:
            read = {each.source for found in self._readers[topic].values() for each in found}
            self._heard[topic] = {k: v for k, v in self._heard[topic].items() if k in read}
            if not self._heard[topic]:
                del self._heard[topic]

    def _meet(self, topic: str, entity: Announced) -> None:
        if entity.component in _NO_STATE or not entity.component:
            return
        if self._ours(entity.topic("state_topic")):
            return
        if self._count >= _MOST:
            raise DecodeError(f"more than {_MOST} entities are announced", reason="too_many")
        device = self._called(entity)
        about = self._known.one(device, FAMILY)
        self._known.tell(
            about,
            name=entity.name,
            model=texts(entity.device, "model"),
            manufacturer=texts(entity.device, "manufacturer"),
            firmware=texts(entity.device, "sw_version"),
        )
        metric = self._metric(device, entity)
        made = self._entities.setdefault(topic, {})[entity.key] = _Entity()
        self._count += 1
        found, unread = readers(device, metric, entity)
        for reader in found:
            self._add(made, entity.key, reader)
            if reader.metric != AVAILABILITY:
                self._known.measure(about, reader.metric, reader.unit, reader.kind)
                self._known.readable(about, reader.metric)
        for part, why in unread.items():
            if self._known.unread(about, part, why):
                log.warning("%s: %s of %s is not read: %s", topic, part, device, why)
        self._commands(about, device, metric, entity)

    def _called(self, entity: Announced) -> str:
        """What an entity's device is called. One of another family that is announced besides, such
        as each of Zigbee2MQTT's, is the same device by the same name."""
        owner = next(
            (
                found
                for key in entity.config
                # Whether it is there may be told on a topic that looks like anybody's.
                if key.endswith("topic") and not key.startswith("availability")
                if (topic := entity.topic(key)) and (found := self._whose(topic)) is not None
            ),
            None,
        )
        # Of another family only for now: one that takes the place of another has its name there.
        device = self._known.named(entity.name, entity.identity, lasting=owner is None)
        return device if owner == "" else self._known.called(device, owner or FAMILY)

    def _add(self, made: _Entity, key: str, reader: Reader) -> None:
        topic = reader.topic
        if self._taken(topic):
            return
        if topic not in self._readers:
            if len(self._readers) >= _MOST_TOPICS:
                raise DecodeError(f"more than {_MOST_TOPICS} topics", reason="too_many")
            self._listen(topic, True)
        weight = self._weights.get(topic, 0) + reader.template.weight
        if weight > _HEAVIEST:
            raise DecodeError("too many entities on one topic", reason="too_many")
        self._weights[topic] = weight
        self._readers.setdefault(topic, {}).setdefault(key, []).append(reader)
        made.topics.add(topic)

    def _metric(self, device: str, entity: Announced) -> str:
        """What an entity is called; never what another one of its device is."""
        said, prefix = texts(entity.config, "name"), f"{entity.name} "
        wanted = (
            said.removeprefix(prefix)
            or texts(entity.config, "device_class")
            or texts(entity.config, "object_id")
            or entity.component
        )
        metric = _NOT_WORD.sub("_", wanted.lower()).strip("_")[: MAX_NAME // 2] or entity.component
        whose = (device, metric)
        if self._metrics.get(whose, entity.key) != entity.key:
            last = entity.key.rpartition(" ")[2].removesuffix("/config").rpartition("/")[2]
            metric = f"{metric}_{_NOT_WORD.sub('_', last.lower())}"[: MAX_NAME - 32]
        elif whose in self._metrics or len(self._metrics) < _MOST:
            self._metrics[whose] = entity.key
        return metric_name(metric)

    def _commands(self, about: About, device: str, metric: str, entity: Announced) -> None:
        on, off = (str(entity.config.get(key, word))[:128] for key, word in _SAID)
        json = entity.component == "light" and texts(entity.config, "schema") == "json"
        if (on, off, json) != ("ON", "OFF", False):
            self._known.said(device, metric, Words(on, off, json))
        for key in entity.config:
            if key.endswith("command_topic") and (topic := entity.topic(key)):
                part = key.removesuffix("command_topic").strip("_")
                name = f"{metric}.{part}" if part else metric
                form = texts(entity.config, key.removesuffix("topic") + "template")
                if self._known.formed(device, name, form):
                    self._known.command(about, name, topic)
