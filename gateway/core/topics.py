"""Our MQTT namespace: `<root>/<gateway>/<class>/<device>/<channel>`, five fixed levels."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.errors import DecodeError


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one gateway."""

    root: str
    gateway: str

    def __call__(self, kind: str, device: str, channel: str) -> str:
        """`<root>/<gateway>/<kind>/<device>/<channel>`."""
        return f"{self.root}/{self.gateway}/{kind}/{device}/{channel}"

    @property
    def presence(self) -> str:
        """Whether the gateway is online; also its last will."""
        return self("status", "gateway", "presence")

    @property
    def summary(self) -> str:
        """The gateway's health."""
        return self("health", "gateway", "summary")


class TopicTemplate:
    """Takes the device's name out of a topic.

    `{1}`, `{2}` … are what the first, second … wildcard of `pattern` matched (`#` matches the
    rest, `/` and all). Raises ValueError if the template names a wildcard that `pattern` has not.
    Wildcards as in MQTT 5.0, section 4.7.
    """

    def __init__(self, pattern: str, template: str) -> None:
        self.pattern = pattern
        self.template = template
        self._levels = pattern.split("/")
        wildcards = sum(level in ("+", "#") for level in self._levels)
        try:
            template.format(*[""] * (wildcards + 1))
        except (IndexError, KeyError, ValueError) as error:
            raise ValueError(
                f'device template "{template}" does not fit topic "{pattern}", '
                f"which has {wildcards} wildcard(s)"
            ) from error

    def device_of(self, topic: str) -> str | None:
        """The device's name, or None where `topic` does not match the pattern."""
        found = [topic]
        levels = topic.split("/")
        for index, level in enumerate(self._levels):
            if level == "#":
                found.append("/".join(levels[index:]))
                return self.template.format(*found)
            if index >= len(levels) or level not in ("+", levels[index]):
                return None
            if level == "+":
                found.append(levels[index])
        return self.template.format(*found) if len(levels) == len(self._levels) else None


def device_of(templates: list[TopicTemplate], topic: str) -> str:
    """The device's name by the first template that fits. Raises DecodeError."""
    for template in templates:
        device = template.device_of(topic)
        if device:
            return device
    raise DecodeError(f'no device can be told from topic "{topic}"', reason="topic")


def covers(pattern: str, other: str) -> bool:
    """Whether whatever the topic, or topic filter, `other` stands for is covered by the topic
    filter `pattern`: MQTT 5.0 section 4.7."""
    if pattern[:1] in ("+", "#") and other.startswith("$"):
        return False
    wanted, levels = pattern.split("/"), other.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or levels[place] == "#" or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def uncovered(filters: Sequence[str], by: Sequence[str] = ()) -> tuple[str, ...]:
    """Those of these topic filters, each once, that no other one of them or of `by` covers."""
    every = dict.fromkeys((*by, *filters))
    return tuple(
        each
        for each in dict.fromkeys(filters)
        if each not in by and not any(covers(other, each) for other in every if other != each)
    )


def check_filter(topic: str) -> None:
    """Whether this is a topic filter, MQTT 5.0 section 4.7.1. Raises ValueError."""
    levels = topic.split("/")
    if not topic or "\0" in topic:
        raise ValueError("a topic filter cannot be empty")
    for place, level in enumerate(levels):
        if "#" in level and (level != "#" or place != len(levels) - 1):
            raise ValueError(f'"{topic}": `#` must be the whole last level')
        if "+" in level and level != "+":
            raise ValueError(f'"{topic}": `+` must be a whole level')


def check_commands(template: str) -> None:
    """Whether this says where a device hears what it is told. Raises ValueError."""
    try:
        told = template.format(device="a", command="b")
    except (LookupError, ValueError, AttributeError) as error:
        raise ValueError(f'"{template}": {error}; {{device}} and {{command}} are known') from error
    if not ("{device}" in template and "{command}" in template):
        raise ValueError(f'"{template}": {{device}} and {{command}} must be in it')
    if "\0" in told or set("+#") & set(told):
        raise ValueError(f'"{template}": a topic to publish to has no wildcards')
