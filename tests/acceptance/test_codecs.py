"""Payloads that are not JSON, from a real broker into history."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cbor2
import paho.mqtt.client as paho

from gateway.codecs.sparkplug_payload import parse
from tests.codecs.cases import sparkplug
from tests.support.gateway import Gateway, gateway
from tests.support.mosquitto import mosquitto
from tests.support.subscriber import subscriber


@contextmanager
def client(port: int) -> Iterator[paho.Client]:
    """A connected client."""
    found = paho.Client(paho.CallbackAPIVersion.VERSION2)
    found.connect("127.0.0.1", port)
    found.loop_start()
    try:
        yield found
    finally:
        found.disconnect()
        found.loop_stop()


def hearing(house: Gateway) -> bool:
    """Whether all sources are subscribed."""
    return all(source["state"] == "running" for source in house.api("status")["sources"])


def test_a_codec_by_name_and_one_with_options(tmp_path: Path) -> None:
    devices = [
        {
            "type": "mqtt", "id": "scales", "topics": ["scales/+"],
            "codec": {"type": "text", "pattern": r"W:(?P<weight>[\d.]+)"},
        },
        {"type": "mqtt", "id": "nodes", "topics": ["nodes/+"], "codec": "cbor"},
        {
            "type": "mqtt", "id": "frames", "topics": ["frames/+"],
            "codec": {
                "type": "struct",
                "fields": [{"name": "t", "type": "int16", "scale": 0.1, "unit": "Cel"}],
            },
        },
    ]  # fmt: skip
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=devices,
            journal={"gather": "100ms"},
        ) as house,
        client(broker.port) as sender,
    ):
        house.wait(lambda: hearing(house))
        sender.publish("scales/door", b"ST,GS,W:12.5kg\r\n", 1)
        sender.publish("scales/door", b"no weight in it", 1)
        sender.publish("nodes/soil", cbor2.dumps({"soil": {"moisture": 31.5}, 7: True}), 1)
        sender.publish("frames/roof", b"\x00\xea", 1)
        house.wait(lambda: house.values("door", "weight") == [12.5])
        house.wait(lambda: house.values("soil", "soil.moisture") == [31.5])
        house.wait(lambda: house.values("soil", "7") == [True])
        house.wait(lambda: len(house.values("roof", "t")) == 1)
        assert house.api("devices/roof")["units"] == {"t": "Cel"}
        assert "Cel" in house.command("devices", "show", "roof").stdout
        (letter,) = house.api("bridges/scales/dead-letters")["letters"]
        assert letter["reason"] == "no_match"
        assert set(house.differences().values()) == {0}


SPARKPLUG = {
    "type": "mqtt", "topics": ["spBv1.0/+/+/+/#"], "device": "{1}/{3}/{4}",
    "codec": {"type": "sparkplug", "host": "farm"},
}  # fmt: skip


def test_an_edge_node_that_was_not_heard_is_asked_to_be_born_again(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[SPARKPLUG],
            journal={"gather": "100ms"},
        ) as house,
        subscriber(broker.port, "spBv1.0/+/NCMD/#", "node") as node,
        client(broker.port) as sender,
    ):
        house.wait(lambda: hearing(house))
        data = sparkplug(7, {"alias": 1, "float_value": 2.5}, at=0)
        sender.publish("spBv1.0/Plant/DDATA/Edge/Pump", data, 1)
        node.count(1)
        (asked,) = node.messages
        assert asked.topic == "spBv1.0/Plant/NCMD/Edge"
        assert parse(asked.payload).metrics[0].name == "Node Control/Rebirth"
        sender.publish("spBv1.0/Plant/NBIRTH/Edge", sparkplug(0, at=0), 1)
        metric = {"name": "Flow/Now", "alias": 1, "datatype": 9, "float_value": 1.5, "unit": "l/s"}
        sender.publish("spBv1.0/Plant/DBIRTH/Edge/Pump", sparkplug(1, metric, at=0), 1)
        data = sparkplug(2, {"alias": 1, "float_value": 3.5}, at=0)
        sender.publish("spBv1.0/Plant/DDATA/Edge/Pump", data, 1)
        pump = "plant-edge-pump"
        house.wait(lambda: house.values(pump, "Flow.Now") == [1.5, 3.5])
        assert house.values("plant-edge", "online") == [True]
        assert house.api(f"devices/{pump}")["units"] == {"Flow.Now": "l/s"}
        # What came before the birth is not lost.
        assert house.command("bridges", "retry", "mqtt", "--all").returncode == 0
        house.wait(lambda: sorted(house.values(pump, "Flow.Now")) == [1.5, 2.5, 3.5])
        assert set(house.differences().values()) == {0}


def test_edge_nodes_are_told_whether_their_host_hears_them(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        subscriber(broker.port, "spBv1.0/STATE/farm", "node") as node,
    ):
        house = Gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[SPARKPLUG],
        ).start()
        node.count(1)
        house.stop()
        node.count(2)
        house.start()
        node.count(3)
        house.kill()
        node.count(4)
        states = [message.json for message in node.messages]
        assert [state["online"] for state in states] == [True, False, True, False]
        # A node goes by the time: a goodbye belongs to the hello with the same one.
        first, second, third, fourth = (state["timestamp"] for state in states)
        assert first == second < third == fourth
