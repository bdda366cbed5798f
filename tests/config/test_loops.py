"""A bridge that would feed what we take in is refused before it does."""

import socket

import pytest

from gateway.config.load import loads
from gateway.config.loops import overlaps
from gateway.config.problems import InvalidConfig

EMBEDDED = "broker: {host: 127.0.0.1, port: 1883}"


def config(bridge: str, devices: str = "[{type: mqtt}]", broker: str = EMBEDDED) -> str:
    return (
        f"gateway: {{id: gw}}\n{broker}\ndevices: {devices}\n"
        f"bridges:\n  - {{type: mqtt, {bridge}}}\n"
    )


OTHER = "[{type: mqtt, url: 'mqtt://other', topics: ['plant/#']}]"
LISTENER = "broker: {listeners: [{port: 8884, tls: false}]}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (config("host: 127.0.0.1, topic: 'devices/{device}/telemetry'"), "device mqtt"),
        (config("host: localhost, topic: 'devices/x/telemetry'"), "device mqtt"),
        (config("url: 'mqtt://[::1]', topic: 'devices/{gateway}-{device}/telemetry'"), "mqtt"),
        (config(f"host: {socket.gethostname()}, topic: 'devices/x-{{device}}/telemetry'"), "mqtt"),
        (config("host: 127.0.0.1, topic: 'berrygate/{gateway}/data/{device}/readings'"), "own"),
        (config("host: 127.0.0.1, port: 8884, topic: 'devices/{device}/telemetry'",
                broker=LISTENER), "device mqtt"),
        (config("url: 'mqtt://other', topic: 'plant/{device}'", OTHER), "plant/#"),
        (config("host: else, more_urls: ['mqtt://other'], topic: 'plant/{device}'", OTHER),
                "plant/#"),
        (config("url: 'mqtt://OTHER.', topic: 'plant/{device}'", OTHER), "plant/#"),
        (config("url: 'mqtt://other', topic: 'plant/{device}/{metric}'", OTHER), "plant/#"),
    ],
)  # fmt: skip
def test_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match="would come back") as refused:
        loads(text)
    [problem] = refused.value.problems
    assert told in problem.message
    assert problem.path == "bridges.0.topic"
    assert problem.fix


@pytest.mark.parametrize(
    "text",
    [
        config("host: 127.0.0.1"),  # the default topic is not what the default device listens to
        config("host: elsewhere, topic: 'devices/{device}/telemetry'"),
        config("host: 127.0.0.1, port: 1999, topic: 'devices/{device}/telemetry'"),
        config("host: 127.0.0.1, topic: 'devices/{device}/telemetry'", "[{type: system}]"),
        config("url: 'mqtt://other', topic: 'plants/{device}'", OTHER),
        config("url: 'mqtt://other', topic: 'berrygate/{gateway}/data/{device}'"),
    ],
)
def test_taken(text: str) -> None:
    loads(text)


@pytest.mark.parametrize(
    ("template", "topic_filter", "expected"),
    [
        ("a/{device}/b", "a/+/b", True), ("a/{device}/b", "a/x/b", True),
        ("a/x-{device}", "a/y-1", False), ("a/x-{device}", "a/x-1", True),
        ("a/{device}", "a/+/b", False), ("a/{device}/b", "a/+", False), ("a/{device}", "a/#", True),
        ("a", "a/#", True), ("a/{metric}", "a/+/+", True), ("b/{metric}", "a/+/+", False),
        ("a/{device}", "#", True), ("a/b", "$share/g/a/+", True), ("a.b/{device}", "aXb/+", False),
        ("a", "+", True), ("a/b", "+", False),
    ],
)  # fmt: skip
def test_overlaps(template: str, topic_filter: str, expected: bool) -> None:
    assert overlaps(template, topic_filter) is expected
