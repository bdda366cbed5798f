"""No bridge may publish where the gateway takes in: each reading would come again, for ever.

At run time messages carry a mark by which a gateway knows its own (gateway/io/mqtt/mark.py); what
can be told from the configuration is refused before.
"""

import re
import socket
from collections.abc import Iterator

import psutil

from gateway.config.models import Config
from gateway.config.problems import Problem
from gateway.config.source import Source
from gateway.core.contracts import Endpoint

_HERE = re.compile(r"localhost|ip6-localhost|127\..*|::1|0\.0\.0\.0|::")
_VARIES = re.compile(r"\{\w+\}")


def loops(source: Source, config: Config) -> Iterator[Problem]:
    """A problem for each bridge whose topic a device, or the gateway itself, has at that broker."""
    for number, bridge in enumerate(config.bridges):
        found = bridge.feeds(config.gateway.id)
        if found is None:
            continue
        brokers, topic = found
        taken = next(filter(None, (_taken(config, broker, topic) for broker in brokers)), "")
        if taken:
            place = ("bridges", number, "topic")
            fix = "name another broker, or another topic"
            message = f"what this bridge publishes would come back in: {taken}"
            yield source.problem(place, message, fix=fix)


def _taken(config: Config, broker: Endpoint, topic: str) -> str:
    """Who has this topic at this broker; "" for nobody."""
    default = config.broker.endpoint
    ports = {default.port, *(each.port for each in config.broker.listeners)}
    ours = _same_host(broker, default) and broker.port in ports
    if ours and overlaps(topic, f"{config.gateway.root}/#"):
        return f"{config.gateway.root}/ is the gateway's own at its broker"
    for name, device in config.named_devices.items():
        listened = device.listens(default)
        if listened is None:
            continue
        there, filters = listened
        same = _same_host(broker, there) and broker.port == there.port
        if not same and not (ours and there == default):
            continue
        for each in filters:
            if overlaps(topic, each):
                return f'device {name} listens to "{each}" there'
    return ""


def _same_host(one: Endpoint, other: Endpoint) -> bool:
    return _host(one) == _host(other)


def _host(endpoint: Endpoint) -> str:
    """A name for the machine; one and the same for every name of this one."""
    host = endpoint.host.lower().rstrip(".")
    return "" if _HERE.fullmatch(host) or host in _own_names() else host


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    addresses = {each.address for found in psutil.net_if_addrs().values() for each in found}
    return {name, f"{name}.local", name.partition(".")[0], *addresses}


def overlaps(template: str, topic_filter: str) -> bool:
    """Whether a topic that the template gives can match the filter. `{metric}` may be any number
    of levels, every other place a part of one. MQTT 5.0, section 4.7."""
    filters = topic_filter.split("/")
    if filters[0] == "$share":
        filters = filters[2:]
    levels = template.split("/")
    for index, level in enumerate(levels):
        wanted = filters[index] if index < len(filters) else ""
        if wanted == "#" or "{metric}" in level:
            return True
        if index >= len(filters):
            return False
        pattern = ".+".join(map(re.escape, _VARIES.split(level)))
        if wanted != "+" and not re.fullmatch(pattern, wanted):
            return False
    return filters[len(levels) :] in ([], ["#"])
