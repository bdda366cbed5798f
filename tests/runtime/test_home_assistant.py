"""What Home Assistant is told, through a real broker."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml

from gateway.runtime.entities import entity, key_of
from tests.support.cable import Cable
from tests.support.gateway import Gateway
from tests.support.mosquitto import Mosquitto, mosquitto


class Assistant:
    """Remembers what is retained under `homeassistant/`, and what the rest says."""

    def __init__(self, port: int) -> None:
        self.configs: dict[str, Any] = {}
        self.said: dict[str, Any] = {}
        self.count = 0
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe([("#", 1)])
        self.client.on_message = self._came
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _came(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        if message.topic.startswith("homeassistant/device/"):
            self.count += 1
            name = message.topic.split("/")[2]
            self.configs[name] = json.loads(message.payload) if message.payload else None
        elif message.topic.startswith("berrygate/") and message.payload:
            self.said[message.topic] = json.loads(message.payload)

    def now(self) -> dict[str, Any]:
        """What it knows."""
        return {name: config for name, config in self.configs.items() if config is not None}

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def made(directory: Path, broker: Mosquitto, cable: Cable) -> Gateway:
    return Gateway(
        directory,
        broker={"embedded": False, "port": broker.port},
        devices=[
            {"type": "system", "id": "pi", "interval": "500ms"},
            {"type": "serial", "id": "scale", "port": str(cable.link), "codec": "senml"},
            {"type": "mqtt"},
        ],
        home_assistant=True,
    )


def edit(house: Gateway, change: Callable[[dict[str, Any]], None]) -> None:
    config = yaml.safe_load(house.config.read_text())
    change(config)
    house.config.write_text(yaml.safe_dump(config))


def without_scale(config: dict[str, Any]) -> None:
    config["devices"] = [each for each in config["devices"] if each["type"] != "serial"]


def test_devices_are_found_and_taken_back(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "cable").plug()
    with mosquitto(tmp_path / "broker") as broker:
        house = made(tmp_path / "gateway", broker, cable).start()
        assistant = Assistant(broker.port)
        try:
            assistant.client.publish("devices/soil/telemetry", '{"moisture": 31}', 1)
            house.wait(lambda: house.api("devices/soil")["readings"] == 1)
            speaking = iter(range(10**9))

            def has(*names: str) -> bool:
                cable.say(b'[{"n":"weight","u":"kg","v":%d}]\n' % next(speaking))
                time.sleep(0.1)
                return assistant.now().keys() == {"berrygate_test", *names}

            house.wait(lambda: has("berrygate_test_pi", "berrygate_test_scale"))
            check(assistant)

            count = assistant.count
            assistant.client.publish("homeassistant/status", "online")
            house.wait(lambda: assistant.count >= count + 3)

            broker.stop()
            (tmp_path / "broker/mosquitto.db").unlink()  # it forgets everything
            broker.start()
            before = assistant.now().keys()
            assistant.close()
            assistant = Assistant(broker.port)
            house.wait(lambda: assistant.now().keys() == before)

            edit(house, without_scale)
            assert house.command("reload").returncode == 0
            house.wait(lambda: has("berrygate_test_pi"))
            edit(house, lambda config: config.update(home_assistant=False))
            assert house.command("reload").returncode == 0
            house.wait(lambda: not assistant.now())
        finally:
            assistant.close()
            house.stop()
            cable.unplug()


def check(assistant: Assistant) -> None:
    """What is said leads to what is there."""
    scale, pi = (assistant.now()[f"berrygate_test_{name}"] for name in ("scale", "pi"))
    weight = scale["cmps"]["weight"]
    assert weight["p"] == "sensor"
    assert weight["unit_of_measurement"] == "kg"
    assert weight["device_class"] == "weight"
    assert weight["unique_id"] == "berrygate_test_scale_weight"
    assert scale["dev"]["ids"] == ["berrygate_test_scale"]
    assert scale["dev"]["via_device"] == "berrygate_test"
    assert scale["o"]["name"] == "Berrygate"
    assert "weight" in assistant.said[scale["state_topic"]]["values"]
    for available in scale["availability"]:
        assert assistant.said[available["topic"]]["state"] == "online"
    assert pi["cmps"]["memory__percent"]["unit_of_measurement"] == "%"
    assert pi["cmps"]["memory__total"]["device_class"] == "data_size"
    ids = [each["unique_id"] for config in (scale, pi) for each in config["cmps"].values()]
    assert len(set(ids)) == len(ids)


def test_what_an_earlier_run_said_is_taken_back(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "cable").plug()
    with mosquitto(tmp_path / "broker") as broker:
        house = made(tmp_path / "gateway", broker, cable).start()
        assistant = Assistant(broker.port)
        try:
            house.wait(lambda: len(assistant.now()) == 2)
            house.kill()
            edit(house, lambda config: config.update(home_assistant=False))
            house.start()
            house.wait(lambda: not assistant.now())
        finally:
            assistant.close()
            house.stop()
            cable.unplug()


@pytest.mark.parametrize(
    ("metric", "value", "unit", "kind", "unit_there"),
    [
        ("t", 1.0, "Cel", "temperature", "°C"),
        ("air.humidity", 1.0, "%", "humidity", "%"),
        ("share", 1.0, "%", None, "%"),
        ("total", 1.0, "kWh", "energy", "kWh"),
        ("odd", 1.0, "furlong", None, "furlong"),
        ("none", 1.0, "", None, None),
    ],
)
def test_class_follows_from_the_unit(
    metric: str, value: float, unit: str, kind: str | None, unit_there: str | None
) -> None:
    found = entity(metric, value, unit)
    assert found.get("device_class") == kind
    assert found.get("unit_of_measurement") == unit_there
    grows = kind == "energy"
    assert found["state_class"] == ("total_increasing" if grows else "measurement")


def test_what_is_no_number_has_no_unit() -> None:
    assert entity("door", True, "V")["p"] == "binary_sensor"
    assert "ON" in entity("door", True, "")["value_template"]
    assert entity("mode", "eco", "V").keys() == {"p", "name", "value_template"}


def test_keys_are_ids_and_never_the_same() -> None:
    metrics = ["a.b", "a__b", "a b", "a_b", "a/b", 'a"b', "ä", "", "x" * 300, "x" * 301]
    keys = [key_of(metric) for metric in metrics]
    assert len(set(keys)) == len(keys)
    assert all(key.replace("_", "").replace("-", "").isalnum() or key for key in keys)


def test_a_quote_in_a_name_does_not_end_the_template() -> None:
    assert entity('a"}}b', 1.0, "")["value_template"] == (
        "{{ value_json['values'].get(\"a\\\"}}b\", '') }}"
    )
