"""An id that a journalled reading carries never becomes another device's, whenever it is killed."""

import json
import random
import time
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from tests.support.faults import outcome, runs, seeded
from tests.support.gateway import Gateway
from tests.support.mosquitto import mosquitto

# All of them give the id "pump", with a suffix for all but the first.
NAMES = ["pump", "Pump", "PUMP", "pUMP", "PuMp", "Pümp"]


def publish(port: int, names: list[str]) -> None:
    """One reading of each name, in this order, acknowledged by the broker."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for name in names:
        value = json.dumps({"name": NAMES.index(name)})
        client.publish(f"devices/{name}/telemetry", value, 1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


@pytest.mark.timeout(1800)
def test_a_kill_does_not_swap_the_ids_of_devices_that_share_a_name(tmp_path: Path) -> None:
    chance = seeded()
    rounds = runs(2, 40)
    kills = 0
    with mosquitto(tmp_path / "broker") as broker:
        for number in range(rounds):
            kills += _one(tmp_path / f"house-{number}", broker.port, chance)
    outcome("identity-over-kills", rounds=rounds, kills=kills, swapped=0)


def _journalled(house: Gateway, count: int) -> bool:
    return bool(house.api("status")["journal"]["next"] > count)


def _one(directory: Path, port: int, chance: random.Random) -> int:
    house = Gateway(
        directory,
        broker={"embedded": False, "port": port},
        devices=[{"type": "mqtt", "topics": ["devices/+/telemetry"]}],
        journal={"gather": "20ms"},
    ).start()
    sent = 0
    kills = 0
    owners: dict[str, str] = {}
    try:
        for _ in range(2):
            house.wait(lambda: house.api("status")["broker"]["connected"])
            names = chance.sample(NAMES, len(NAMES))
            publish(port, names)
            sent += len(names)
            # Each as soon as it is committed, or a little later: ids used to be saved every 10 s.
            house.wait(partial(_journalled, house, sent))
            for device in house.api("devices"):
                if device["original"] in NAMES:
                    assert owners.setdefault(device["id"], device["original"]) == device["original"]
            time.sleep(chance.uniform(0, 0.3))
            house.kill()
            kills += 1
            house.start()
        assert sorted(owners.values()) == sorted(NAMES)
        for device, original in owners.items():
            found = {NAMES[int(value)] for value in house.values(device, "name")}
            assert found == {original}, f"{device} has readings of {found}"
    finally:
        house.kill()
    return kills
