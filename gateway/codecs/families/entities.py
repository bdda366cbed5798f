"""How an entity that Home Assistant's discovery announced is read: from which topics, by which
template, and what its words mean."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gateway.codecs.families.announcements import Announced
from gateway.codecs.families.parts import texts, value
from gateway.codecs.families.templates import (
    NothingThereError,
    Scope,
    Template,
    UnknownTemplateError,
    plain,
    template,
)
from gateway.codecs.reports import value_of
from gateway.core.contracts import Value

AVAILABILITY = "online"
_LONGEST = 128  # characters of a word that means something
_ON_OFF = frozenset(("binary_sensor", "switch", "light", "fan", "siren", "humidifier"))
_NUMBERS = frozenset(("number",))
_TEXTS = frozenset(("select", "text"))
_NOTHING = frozenset(("", "none", "unknown", "unavailable", "null"))
_HIGH, _LOW = "temperature_high", "temperature_low"
_C, _RH = ("°C", "temperature"), ("%", "humidity")
_STATE = ("state_topic", "value_template", "", "", "")
_MORE: dict[str, tuple[tuple[str, str, str, str, str], ...]] = {
    "climate": (
        ("current_temperature_topic", "current_temperature_template", "current_temperature", *_C),
        ("temperature_state_topic", "temperature_state_template", "temperature", *_C),
        ("current_humidity_topic", "current_humidity_template", "current_humidity", *_RH),
        ("mode_state_topic", "mode_state_template", "mode", "", ""),
        ("action_topic", "action_template", "action", "", ""),
        ("fan_mode_state_topic", "fan_mode_state_template", "fan_mode", "", ""),
        ("swing_mode_state_topic", "swing_mode_state_template", "swing_mode", "", ""),
        ("preset_mode_state_topic", "preset_mode_value_template", "preset_mode", "", ""),
        (f"{_HIGH}_state_topic", f"{_HIGH}_state_template", _HIGH, *_C),
        (f"{_LOW}_state_topic", f"{_LOW}_state_template", _LOW, *_C),
    ),
    "cover": (
        ("position_topic", "position_template", "position", "%", ""),
        ("tilt_status_topic", "tilt_status_template", "tilt", "%", ""),
    ),
    "valve": (("position_topic", "position_template", "position", "%", ""),),
    "fan": (
        ("percentage_state_topic", "percentage_value_template", "percentage", "%", ""),
        ("oscillation_state_topic", "oscillation_value_template", "oscillation", "", ""),
        ("direction_state_topic", "direction_value_template", "direction", "", ""),
    ),
    "light": (("brightness_state_topic", "brightness_value_template", "brightness", "", ""),),
    "humidifier": (
        ("target_humidity_state_topic", "target_humidity_state_template", "target_humidity", *_RH),
        ("current_humidity_topic", "current_humidity_template", "current_humidity", *_RH),
    ),
}  # fmt: skip
_MORE["water_heater"] = _MORE["climate"]
_TEMPLATES = ("value_template", "state_value_template", "state_template")


class Availability(NamedTuple):
    """The topics that tell whether one entity is there, each with what tells its words from those
    that others read on the same topic; mode: what several of them come to."""

    mode: str
    sources: tuple[tuple[str, str], ...]

    def of(self, latest: bool, words: list[bool | None]) -> bool | None:
        """Whether it is there; None where that cannot be said yet. words: the last one of each
        topic that is read, None where it has said nothing."""
        if self.mode == "all":
            return False if False in words else None if None in words else True
        return True in words if self.mode == "any" else latest


class Reader(NamedTuple):
    """One metric of a device and where it comes from. words: what texts mean; only: whether
    others mean nothing. number: whether it must be one. parts: the payload is an object of which
    each value is a metric (lights with `schema: json`). source, availability: where it is one of
    the topics that tell whether the device is there."""

    device: str
    metric: str
    topic: str
    template: Template
    unit: str = ""
    kind: str = ""
    words: dict[str, bool] | None = None
    number: bool = False
    text: bool = False
    parts: bool = False
    source: str = ""
    availability: Availability | None = None

    def read(self, scope: Scope) -> Iterator[tuple[str, Value]]:
        """The values in a payload, each with what comes behind the metric's name. Raises
        DecodeError."""
        try:
            data = self.template.read(scope)
        except NothingThereError:
            return
        if self.parts and isinstance(data, dict):
            for part in ("state", "brightness", "color_temp", "effect"):
                if (found := self._value(data.get(part), part)) is not None:
                    yield ("" if part == "state" else part), found
        elif (given := self._value(data, "")) is not None:
            yield "", given

    def _value(self, data: Any, part: str) -> Value | None:
        if data is None or isinstance(data, dict | list):
            return None
        if self.words is not None and part in ("", "state"):
            return self.words.get(str(data)[:_LONGEST])
        if isinstance(data, bool | int | float):
            return None if data != data else value_of(self.metric, data)
        if data.strip().lower() in _NOTHING:
            return None
        found = value_of(self.metric, data) if self.text else value(data.strip())
        if isinstance(found, bool):
            found = data
        return found if not self.number or isinstance(found, float) else None


def readers(device: str, metric: str, entity: Announced) -> tuple[list[Reader], dict[str, str]]:
    """How an entity is read; and which metrics of it cannot be, with why."""
    found, unread = [], {}
    for topic_key, template_key, part, unit, kind in (_STATE, *_MORE.get(entity.component, ())):
        topic = entity.topic(topic_key)
        if not topic:
            continue
        name = f"{metric}.{part}" if part else metric
        keys = (template_key,) if part else _TEMPLATES
        given = next((texts(entity.config, key) for key in keys if texts(entity.config, key)), "")
        try:
            how = template(given) if given else plain()
        except UnknownTemplateError:
            unread[name] = f"its template is not understood: {given[:200]}"
            continue
        if part:
            found.append(Reader(device, name, topic, how, _unit(entity, unit), kind))
        else:
            found.append(_state(device, name, topic, how, entity))
    return found + _availability(device, entity), unread


def _unit(entity: Announced, unit: str) -> str:
    told = texts(entity.config, "temperature_unit")
    return f"°{told}" if unit == "°C" and told in ("C", "F") else unit


def _state(device: str, name: str, topic: str, how: Template, entity: Announced) -> Reader:
    config, component = entity.config, entity.component
    unit = texts(config, "unit_of_measurement")
    light = component == "light" and texts(config, "schema") == "json"
    if light:
        how = Template(lambda scope: scope["value_json"], True)
    return Reader(
        device,
        name,
        topic,
        how,
        unit,
        texts(config, "device_class"),
        _words(config, component) if component in _ON_OFF else None,
        bool(unit or texts(config, "state_class")) or component in _NUMBERS,
        component in _TEXTS,
        light,
    )


def _words(config: dict[str, Any], component: str) -> dict[str, bool]:
    """Which texts mean on and off."""
    on, off = config.get("payload_on", "ON"), config.get("payload_off", "OFF")
    if component != "binary_sensor":
        on, off = config.get("state_on", on), config.get("state_off", off)
    return {str(off)[:_LONGEST]: False, str(on)[:_LONGEST]: True}


def _availability(device: str, entity: Announced) -> list[Reader]:
    """The topics that tell whether the device is there."""
    several = entity.config.get("availability")
    each = several if isinstance(several, list) else []
    if entity.topic("availability_topic"):
        config = {**entity.config, "topic": texts(entity.config, "availability_topic")}
        config["value_template"] = texts(entity.config, "availability_template")
        each = [*each, config]
    found = []
    for config in each:
        one = Announced("", "", config, "")
        topic, given = one.topic("topic"), texts(config, "value_template")
        if not topic:
            continue
        try:
            how = template(given) if given else plain()
        except UnknownTemplateError:
            continue
        words = {
            str(config.get("payload_not_available", "offline"))[:_LONGEST]: False,
            str(config.get("payload_available", "online"))[:_LONGEST]: True,
        }
        source = "\n".join((given, *words))
        found.append(Reader(device, AVAILABILITY, topic, how, words=words, source=source))
    sources = tuple((each.topic, each.source) for each in found)
    together = Availability(texts(entity.config, "availability_mode"), sources)
    return [each._replace(availability=together) for each in found]
