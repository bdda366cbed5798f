"""Families of devices, whatever they are sent: nothing but DecodeError, soon, in bounded memory."""

import copy
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.codecs.families.parts import LARGEST
from gateway.core.errors import DecodeError
from tests.codecs.test_contract import LONGEST, REASONS, edited, edits, sound, varied
from tests.codecs.test_families import FAMILIES, NOW, House
from tests.codecs.test_worst import LARGEST as LARGEST_DEVICES
from tests.codecs.test_worst import PACE, pace
from tests.support.faults import FULL, runs

KNOWN = REASONS | {"too_large", "unannounced"}
MANY = 2_000  # devices
ELSE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 1e308, -1e-308, 10**30, 2**63, "", " ", "ON", "false",
    "nan", "1e999", "2026-03-01T12:00:00Z", "x" * 2_000, "\0", "°", "{", "a/b", "+", [], {}, [[]],
    [None, 1], [{"id": 1}, "a"], {"": 1}, {"a": {"b": [1, {"c": None}]}}, ["a"] * 300,
    {"0": 0, "time": "soon"},
)  # fmt: skip
"""What nobody expects somewhere."""


def raw(payload: Any) -> bytes:
    """A payload as it is on the wire."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return text.encode(errors="replace")


def recorded(file: Path) -> list[tuple[str, bytes]]:
    """Topics and payloads of one family."""
    messages = json.loads(file.read_text())["messages"]
    return [(each["topic"], raw(each["payload"])) for each in messages]


def misshapen(payload: bytes, count: int) -> Iterator[bytes]:
    """Payloads of the same keys in which a few things are something else, or gone; always the same
    ones. Of what is no JSON, other bare values."""
    chance = random.Random(payload)
    for _ in range(count):
        try:
            data = json.loads(payload)
        except ValueError:
            data = copy.deepcopy(chance.choice(ELSE))
        for _ in range(chance.randint(1, 3)):
            if places := list(inner(data)):
                there, key = chance.choice(places)
                if isinstance(there, dict) and chance.random() < 0.2:
                    there[chance.choice(("", "time", "a.b", "x" * 200, "\0"))] = there.pop(key)
                else:
                    there[key] = copy.deepcopy(chance.choice(ELSE))
        yield raw(data)


def inner(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a tree: what it is in, and its key."""
    each = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in each:
        yield data, key
        yield from inner(data[key])


def primed(messages: list[tuple[str, bytes]]) -> House:
    """One that knows the family's devices."""
    house = House()
    for topic, payload in messages:
        tried(house, topic, payload)
    return house


def tried(house: House, topic: str, payload: bytes) -> float:
    """Decode it; how long that took (s of CPU)."""
    began = time.thread_time()
    reports, reason = None, ""
    try:
        reports = list(house.codec.addressed(topic, "own", payload, NOW))
    except DecodeError as error:
        reason = error.reason
    took = time.thread_time() - began
    if reports is None:
        assert reason in KNOWN, reason
    else:
        sound([(when, values) for _, when, values in reports])
        assert all(type(device) is str and device for device, _, _ in reports)
    return took


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_nothing_but_a_decode_error_comes_of_anything_and_soon(file: Path) -> None:
    messages = recorded(file)
    houses: list[House] = []

    @settings(
        max_examples=runs(400, 5_000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(messages), st.binary(max_size=48) | edits, st.booleans())
    @example(messages[0], b"", False)
    def holds(message: tuple[str, bytes], change: Any, of_topic: bool) -> None:
        topic, payload = message
        if isinstance(change, bytes):
            payload = change
        elif of_topic:
            topic = edited(topic.encode(), change).decode("utf-8", "replace")
        else:
            payload = edited(payload, change)
        if not houses or len(houses[-1].codec.known._about) > MANY:
            houses.append(primed(messages))  # one that is full refuses what is new at once
        house = houses[-1]
        count = 10 if FULL else 1
        for each in (*varied(payload, count), *misshapen(payload, count)):
            # Twice: a collection of garbage may come in between.
            quick = tried(house, topic, each) < LONGEST or tried(house, topic, each) < LONGEST
            assert quick, (topic, each)

    holds()


def dump(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


SUM = "{{ " + "+".join(["value_json.a"] * 18) + " }}"
EXPOSES = [{"property": f"p{n}", "unit": "x", "type": "binary", "value_on": "a", "access": 7}
           for n in range(40)]  # fmt: skip
NESTED = [{"features": [{"features": [{"features": [{"property": "a"}]}]}]}] * 3_000
CLIMATES = {
    f"c{n}": {"p": "climate", "name": f"n{n}", "stat_t": f"t{n}", "curr_temp_t": f"s{n}",
              "val_tpl": "{{ ((value_json.a|float(0))*2)/3+4 }}", "curr_temp_tpl": SUM[:60] + " }}"}
    for n in range(300)
}  # fmt: skip
WORST: dict[str, list[tuple[str, str]]] = {
    "devices of zigbee2mqtt": [("zigbee2mqtt/bridge/devices", dump([
        {"friendly_name": f"d{n}", "definition": {"exposes": EXPOSES}} for n in range(80)]))],
    "names of zigbee2mqtt": [("zigbee2mqtt/bridge/devices", dump([
        {"friendly_name": f"device{n}", "model_id": "m"} for n in range(5_000)]))],
    "nested exposes": [("zigbee2mqtt/bridge/devices", dump([
        {"friendly_name": "d", "definition": {"exposes": NESTED}}]))],
    "nulls": [("zigbee2mqtt/x", dump({"a": [None] * 13_000}))],
    "depth": [("zigbee2mqtt/x", '{"a":' * 12_000)],
    "components": [
        ("homeassistant/device/x/config", dump({"dev": {"ids": "x"}, "cmps": CLIMATES})),
    ],
    "templates": [
        *((f"homeassistant/sensor/x{n}/config",
           dump({"dev": {"ids": "x"}, "name": f"n{n}", "stat_t": "x/state", "val_tpl": SUM}))
          for n in range(80)),
        ("x/state", '{"a":1}'),
    ],
    "entities on one topic": [
        *((f"homeassistant/sensor/x{n}/config",
           dump({"dev": {"ids": f"x{n}"}, "name": "n", "stat_t": "x/state", "avty_t": "x/state"}))
          for n in range(2_510)),
        ("x/state", "online"),
    ],
    "telemetry": [("v1/gateway/telemetry", dump({f"d{n}": [{"x": 1}] for n in range(3_500)}))],
    "reports": [("v1/gateway/telemetry", dump({"d": [{"x": 1}] * 8_000}))],
    "uplink": [("v3/a/devices/d/up", dump({"uplink_message": {
        "normalized_payload": [{"air": {f"t{n}": 1 for n in range(800)}}] * 5,
        "decoded_payload": {f"a{n}": 1 for n in range(900)}}}))],
    "properties": [("homie/5/d/$description", dump({"nodes": {"n": {"properties": {
        f"p{n}": {"unit": "x", "settable": True} for n in range(1_500)}}}}))],
    "sensors": [("tele/x/SENSOR", dump({f"S{n}": {"Temperature": 1} for n in range(999)}))],
}  # fmt: skip


@pytest.mark.alone
@pytest.mark.parametrize("name", WORST)
def test_the_worst_is_bounded(name: str) -> None:
    worst = LONGEST * 100
    for _ in range(3):
        house = House()
        for topic, text in WORST[name]:  # none of them is refused for its size alone
            assert len(text) <= (LARGEST_DEVICES if "bridge" in topic else LARGEST)
        worst = min(worst, max(tried(house, topic, raw(text)) for topic, text in WORST[name]))
    print(f"{name}: {worst * 1000:.1f} ms")
    assert worst < LONGEST * max(1.0, min(pace() for _ in range(3)) / PACE)


def test_devices_without_end_cost_bounded_memory() -> None:
    house = House()
    for number in range(10_000):
        house.hears(f"tele/d{number}/LWT", "Online")
    with pytest.raises(DecodeError) as refused:
        house.hears("tele/one-more/LWT", "Online")
    assert refused.value.reason == "too_many"
    assert house.hears("tele/d7/LWT", "Offline")  # who is known goes on


def test_announcements_without_end_cost_bounded_memory() -> None:
    house = House()
    config = {"dev": {"ids": "x", "name": "X"}, "name": "a"}
    for number in range(10_000):
        topic = f"homeassistant/sensor/x{number}/config"
        house.hears(topic, {**config, "name": f"a{number}", "stat_t": f"t/{number}"})
    with pytest.raises(DecodeError) as refused:
        house.hears("homeassistant/sensor/more/config", {**config, "stat_t": "t/more"})
    assert refused.value.reason == "too_many"
    assert len(house.listened) == 10_000
    # What goes makes room.
    house.hears("homeassistant/sensor/x0/config", "")
    house.hears("homeassistant/sensor/more/config", {**config, "stat_t": "t/more"})
    assert "t/0" not in house.listened
    assert house.hears("t/more", "5") == [{"device": "X", "values": {"a": 5.0}}]


def test_topics_without_end_cost_bounded_memory() -> None:
    house = House()
    for number in range(20_100):
        house.hears(f"zigbee2mqtt/bridge/x{number}", "")
    assert len(house.codec._of) <= 20_000
