"""`discover: true` and a broker: devices appear by themselves, with names and units."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.report import REPEAT
from tests.acceptance.test_codecs import client, hearing
from tests.support.gateway import Gateway, gateway
from tests.support.mosquitto import mosquitto
from tests.support.subscriber import subscriber

CONFIG = "homeassistant/sensor/greenhouse-node/air/config"
AIR = {
    "name": "Air Temperature", "dev_cla": "temperature", "unit_of_meas": "°C",
    "stat_t": "greenhouse-node/sensor/air/state", "avty_t": "greenhouse-node/status",
    "dev": {"ids": "a0b765", "name": "Greenhouse node", "mdl": "esp32dev", "mf": "Espressif"},
}  # fmt: skip
BRIDGE = [
    {
        "friendly_name": "attic",
        "definition": {
            "model": "WSDCGQ11LM", "vendor": "Aqara",
            "exposes": [{"type": "numeric", "property": "temperature", "unit": "°C", "access": 1}],
        },
    }
]  # fmt: skip


def told(payload: Any) -> str:
    return payload if isinstance(payload, str) else json.dumps(payload)


def test_devices_appear_with_names_and_units(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, client(broker.port) as sender:

        def publish(topic: str, payload: Any, retain: bool = False) -> None:
            sender.publish(topic, told(payload), 1, retain).wait_for_publish(10)

        # What devices said of themselves before the gateway was there.
        publish("tasmota/discovery/2C3AE8/config", {"t": "freezer", "dn": "Freezer plug",
                "md": "Nous A1T", "rl": [1, 0]}, retain=True)  # fmt: skip
        publish("zigbee2mqtt/bridge/devices", BRIDGE, retain=True)
        publish(CONFIG, AIR, retain=True)
        publish("greenhouse-node/status", "online", retain=True)
        publish("greenhouse-node/sensor/air/state", "19.5", retain=True)
        with gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt", "discover": True}],
            journal={"gather": "100ms"},
        ) as house:
            house.wait(lambda: hearing(house))
            # A retained state is the last state, and no reading.
            last = "greenhouse-node"
            house.wait(lambda: last in {each["id"] for each in house.api("devices")})
            house.wait(lambda: house.api(f"devices/{last}")["last"]["values"] != {})
            assert house.values(last, "air_temperature") == []

            publish("tele/freezer/SENSOR", {"ENERGY": {"Power": 71, "Total": 48.2}})
            publish("zigbee2mqtt/attic", {"temperature": 17.4, "linkquality": 84})
            publish("greenhouse-node/sensor/air/state", "23.7")
            publish("devices/own/telemetry", {"moisture": 31.5})
            house.wait(lambda: house.values("freezer", "ENERGY.Power") == [71.0])
            house.wait(lambda: house.values("attic", "temperature") == [17.4])
            house.wait(lambda: house.values(last, "air_temperature") == [23.7])
            house.wait(lambda: house.values("own", "moisture") == [31.5])

            freezer = house.api("devices/freezer")
            assert freezer["units"]["ENERGY.Power"] == "W"
            assert freezer["about"]["name"] == "Freezer plug"
            assert freezer["about"]["model"] == "Nous A1T"
            assert freezer["about"]["commands"] == {"POWER": "cmnd/freezer/POWER"}
            assert house.api("devices/attic")["units"] == {"temperature": "°C"}
            assert house.api("devices/attic")["about"]["manufacturer"] == "Aqara"
            node = house.api(f"devices/{last}")
            assert node["units"] == {"air_temperature": "°C"}
            assert node["about"]["classes"] == {"air_temperature": "temperature"}
            assert node["about"]["online"] is True
            shown = house.command("devices", "show", "freezer").stdout
            assert "Freezer plug" in shown
            assert "Nous A1T" in shown

            # It is told what to do where and as its family hears it.
            with subscriber(broker.port, "cmnd/freezer/#", "plug") as plug:
                order = ("devices", "command", "freezer", "POWER", "value=true")
                assert house.command(*order).returncode == 0
                house.wait(lambda: bool(plug.messages))
                assert (plug.messages[0].topic, plug.messages[0].payload) == (
                    "cmnd/freezer/POWER", b"ON",
                )  # fmt: skip

            # Its last will is its presence, however slow its rhythm.
            with subscriber(
                broker.port, "berrygate/+/status/greenhouse-node/presence", "p"
            ) as seen:
                publish("greenhouse-node/status", "offline", retain=True)
                house.wait(lambda: seen.messages and seen.messages[-1].json["state"] == "offline")
                publish("greenhouse-node/status", "online", retain=True)
                house.wait(lambda: seen.messages[-1].json["state"] == "online")

            # Who comes later announces itself then.
            level = {"name": "Level", "stat_t": "late/level", "dev": {"ids": "l", "name": "Late"}}
            publish("homeassistant/sensor/late/config", level, retain=True)

            def late() -> bool:
                publish("late/level", "40")
                return bool(house.values("late", "level"))

            house.wait(late)
            assert {each["id"] for each in house.api("devices")} == {
                "freezer", "attic", last, "own", "late",
            }  # fmt: skip
            assert set(house.differences().values()) == {0}


def discovering(directory: Path, port: int) -> Gateway:
    return Gateway(
        directory / "gateway",
        broker={"embedded": False, "port": port},
        devices=[{"type": "mqtt", "discover": True}],
        journal={"gather": "100ms"},
    ).start()


def test_what_waited_while_the_gateway_was_away_is_not_lost(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, client(broker.port) as sender:
        sender.publish(CONFIG, told(AIR), 1, True).wait_for_publish(10)
        house = discovering(tmp_path, broker.port)
        try:
            house.wait(lambda: hearing(house))

            def heard() -> bool:
                sender.publish(AIR["stat_t"], "20", 1).wait_for_publish(10)
                return bool(house.values("greenhouse-node", "air_temperature"))

            house.wait(heard)
            house.stop()
            sender.publish(AIR["stat_t"], "30", 1).wait_for_publish(10)
            house.start()
            house.wait(lambda: hearing(house))
            letters = "bridges/mqtt/dead-letters"

            def read() -> bool:
                return 30.0 in house.values("greenhouse-node", "air_temperature")

            # It comes before anybody announces what it is, unless the broker has it otherwise.
            house.wait(lambda: read() or house.api(letters)["letters"] != [])
            assert {each["reason"] for each in house.api(letters)["letters"]} <= {"unannounced"}

            def again() -> bool:
                house.command("bridges", "retry", "mqtt", "--all")
                return read()

            house.wait(again)
            assert house.api(letters)["letters"] == []
            assert set(house.differences().values()) == {0}
        finally:
            house.stop()


def test_a_restart_does_not_swap_devices_of_one_name(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, client(broker.port) as sender:

        def uplink(key: str, moisture: float) -> None:
            told = {"deviceInfo": {"deviceName": "Soil"}, "object": {"moisture": moisture}}
            topic = f"application/1/device/{key}/event/up"
            sender.publish(topic, json.dumps(told), 1).wait_for_publish(10)

        house = discovering(tmp_path, broker.port)
        try:
            house.wait(lambda: hearing(house))
            uplink("24e124128c147444", 1)
            house.wait(lambda: house.values("soil", "moisture") == [1.0])
            house.stop()
            house.start()
            house.wait(lambda: hearing(house))
            uplink("24e124128c147555", 2)
            uplink("24e124128c147444", 3)
            house.wait(lambda: house.values("soil-24e124128c147555", "moisture") == [2.0])
            house.wait(lambda: house.values("soil", "moisture") == [1.0, 3.0])
        finally:
            house.stop()


@pytest.mark.parametrize("topics", [[], ["#"]])
def test_a_last_will_is_told_at_once_and_not_at_the_devices_turn(
    tmp_path: Path, topics: list[str]
) -> None:
    """Devices that are well are looked at in turn, within 20 s: of as many, one has each turn."""
    own = {"topics": topics} if topics else {}
    plugs = [f"plug-{number}" for number in range(REPEAT)]
    with (
        mosquitto(tmp_path / "broker") as broker,
        client(broker.port) as sender,
        gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt", "discover": True, **own}],
        ) as house,
        subscriber(broker.port, "berrygate/+/status/+/presence", "presence") as seen,
    ):
        house.wait(lambda: hearing(house))

        def all_say(word: str) -> None:
            for plug in plugs:
                sender.publish(f"tele/{plug}/LWT", word, 1, True).wait_for_publish(10)

        def all_are(state: str) -> bool:
            now = {each.topic.split("/")[3]: each.json["state"] for each in list(seen.messages)}
            return {now.get(plug) for plug in plugs} == {state}

        all_say("Online")
        seen.wait(lambda: all_are("online"))
        all_say("Offline")
        seen.wait(lambda: all_are("offline"), REPEAT / 3)
        all_say("Online")
        seen.wait(lambda: all_are("online"), REPEAT / 3)
        # And each once, however many of the filters bring it.
        house.wait(lambda: all(len(house.values(plug, "online")) >= 3 for plug in plugs))
        assert [house.values(plug, "online") for plug in plugs] == [[True, False, True]] * REPEAT
