"""Families of devices: what each vendor's payloads become. The payloads are of the shapes that the
vendors document, with values of our own; see docs/devices/families.md."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.codecs.families import FamiliesCodec, filters
from gateway.codecs.json import JsonCodec
from gateway.core.topics import covers

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = sorted(GOLDEN.glob("*.json"))
NOW = 1_763_680_000_000_000_000
SHOWN = ("name", "model", "manufacturer", "firmware", "online", "units", "classes", "commands",
         "unread")  # fmt: skip


FEWEST = 10
"""Payloads with readings of each family."""
FEWEST_OF_ALL = 200
UNITLESS = frozenset(("thingsboard",))
"""Families that tell no units."""


def messages(file: Path) -> list[dict[str, Any]]:
    """A family's payloads with what becomes of them."""
    found: list[dict[str, Any]] = json.loads(file.read_text())["messages"]
    return found


def own(topic: str) -> bool:
    return topic.startswith("devices/")


class House:
    """A codec with what it wants to listen to."""

    def __init__(self) -> None:
        self.listened: set[str] = set()
        self.codec = FamiliesCodec(JsonCodec(), own, self._listen)

    def _listen(self, topic: str, wanted: bool) -> None:
        (self.listened.add if wanted else self.listened.discard)(topic)

    def hears(self, topic: str, payload: Any) -> list[dict[str, Any]]:
        """The readings of a message; an object is written as JSON."""
        raw = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        found = []
        for device, time, values in self.codec.addressed(topic, "own", raw, NOW):
            when = {} if time is None else {"time": time / 10**6}
            found.append({"device": device, **when, "values": values})
        return found

    def subscribes(self, topic: str) -> bool:
        """Whether the source would be sent what is on a topic."""
        wanted = (*filters(), *self.listened)
        return own(topic) or any(covers(each, topic) for each in wanted)

    def about(self, device: str) -> dict[str, Any]:
        """What is known of a device."""
        known = self.codec.about(device)
        assert known is not None, device
        told = {key: getattr(known, key) for key in SHOWN}
        return {key: value for key, value in told.items() if value not in ("", {}, None)}


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_what_vendors_document_becomes_what_is_expected(file: Path) -> None:
    house, recorded = House(), json.loads(file.read_text())
    for message in recorded["messages"]:
        assert house.subscribes(message["topic"]) or not message["readings"], message["topic"]
        found = house.hears(message["topic"], message["payload"])
        assert found == message["readings"], message["topic"]
        for reading in found:
            house.about(reading["device"])
    for device, about in recorded["devices"].items():
        assert house.about(device) == about, device
    assert house.listened == set(recorded.get("listens", []))


def test_every_family_is_there() -> None:
    assert {file.stem for file in FAMILIES} == {
        "tasmota", "shelly-gen1", "shelly-gen2", "zigbee2mqtt", "esphome", "homeassistant",
        "homie4", "homie5", "things-stack", "chirpstack", "openmqttgateway", "thingsboard",
        "thin-edge",
    }  # fmt: skip


def test_of_each_family_many_payloads_are_readings() -> None:
    readings = {
        file.stem: sum(1 for each in messages(file) if each["readings"]) for file in FAMILIES
    }
    print(readings, sum(readings.values()))
    assert min(readings.values()) >= FEWEST
    assert sum(readings.values()) >= FEWEST_OF_ALL


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_units_come_with_the_readings(file: Path) -> None:
    devices = json.loads(file.read_text())["devices"]
    measured = 0
    for message in messages(file):
        for reading in message["readings"]:
            units = devices[reading["device"]].get("units", {})
            assert not [each for each in units if not units[each]]
            measured += any(metric in units for metric in reading["values"])
    print(file.stem, measured)
    if file.stem in UNITLESS:
        assert measured == 0
        return
    assert measured >= FEWEST
