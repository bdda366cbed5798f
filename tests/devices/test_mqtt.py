"""The MQTT device with a real mosquitto."""

import asyncio
import random
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from devices.mqtt import MqttDevice, MqttSettings
from gateway.core.contracts import Burst, Busy, Context, Endpoint, Stored
from gateway.core.errors import DecodeError
from gateway.core.events import Connected, Disconnected, Event, StateSeen
from gateway.io.mqtt.bulk import BulkClient
from gateway.io.mqtt.connection import Connection, make_client
from gateway.io.mqtt.handover import Handover
from gateway.io.mqtt.splitter import Frames
from tests.io.test_mqtt_bulk import publish as publish_packet
from tests.support.certificates import certificates
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.proxy import proxy
from tests.support.publisher import Publisher
from tests.support.scripted import CONNACK, SUBACK, scripted


class Listener:
    """A device at work, and what came of it."""

    def __init__(
        self,
        endpoint: Endpoint,
        payload: int = 256_000,
        directory: Path | None = None,
        **settings: Any,
    ) -> None:
        self.events: list[Event] = []
        self.bursts: list[Burst] = []
        self.acknowledge = True
        self.open = asyncio.Event()
        self.open.set()
        self.directory = directory or Path(tempfile.mkdtemp())
        context = Context("gw", "berrygate", self.directory, endpoint, self.events.append, payload)
        built = MqttSettings.model_validate(settings).build("mqtt", context)
        assert isinstance(built, MqttDevice)
        self.device = built

    async def pump(self) -> None:
        async for burst in self.device.listen():
            await self.open.wait()
            self.bursts.append(burst)
            burst.done(Stored() if self.acknowledge else Busy(1.0))

    def payloads(self) -> list[bytes]:
        return [payload for burst in self.bursts for payload in burst.payloads]


@asynccontextmanager
async def listening(endpoint: Endpoint, **settings: Any) -> AsyncIterator[Listener]:
    found = Listener(endpoint, **settings)
    task = asyncio.create_task(found.pump())
    await until(lambda: found.device.trouble not in ("connecting",))
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def publish(
    port: int, *messages: tuple[str, str], retain: bool = False, qos: int = 1
) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, payload in messages:
        info = client.publish(topic, payload, qos, retain)
        await asyncio.to_thread(info.wait_for_publish, 5)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_twenty_thousand_in_order_and_acknowledged(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        async with listening(endpoint) as found:
            publisher = Publisher(broker.port, 1, lambda n: b"%d" % n)
            await asyncio.to_thread(publisher.run, 0, 20_000)
            publisher.close()
            await until(lambda: len(found.payloads()) >= 20_000)
            await asyncio.sleep(0.5)  # what was acknowledged last is on its way
        assert [int(p) for p in found.payloads()] == list(range(20_000))
        async with listening(endpoint) as again:
            await asyncio.sleep(0.5)
            assert again.payloads() == []  # everything was acknowledged


async def test_what_is_not_acknowledged_comes_again_marked(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port)
        async with listening(endpoint) as found:
            found.acknowledge = False
            await publish(broker.port, ("devices/a/telemetry", "1"), ("devices/a/telemetry", "2"))
            await until(lambda: len(found.payloads()) == 2)
        async with listening(endpoint) as again:
            await until(lambda: len(again.payloads()) == 2)
            assert [r for burst in again.bursts for r in burst.repeats] == [True, True]
            first = [i for burst in found.bursts for i in burst.packet_ids]
            assert [i for burst in again.bursts for i in burst.packet_ids] == first
            assert [burst.renewed for burst in (found.bursts[0], again.bursts[0])] == [True, False]


async def test_connections_cut_anywhere_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    with mosquitto(tmp_path) as broker, proxy(broker.port) as between:
        async with listening(Endpoint(port=between.port)) as found:
            await until(lambda: found.device.trouble == "")
            publisher = Publisher(broker.port, 3, lambda n: b"%d" % n)
            thread = threading.Thread(target=publisher.run, args=(0, 4_000, 2_000))
            thread.start()
            for _ in range(6):
                between.limit = chance.randrange(200, 20_000)
                between.cut()
                await asyncio.sleep(0.3)
            between.limit = None
            between.cut()
            await asyncio.to_thread(thread.join)
            await until(lambda: len(set(found.payloads())) == 4_000)
        assert between.connections > 3
        assert any(isinstance(event, Disconnected) for event in found.events)


async def test_a_broker_that_forgot_everything_is_subscribed_again(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with listening(Endpoint(port=broker.port)) as found:
            await until(lambda: found.device.trouble == "")
            await publish(broker.port, ("devices/a/telemetry", "0"), ("devices/a/telemetry", "0"))
            await until(lambda: found.payloads() == [b"0", b"0"])
            assert [burst.renewed for burst in found.bursts][:2] in ([True], [True, False])
            found.bursts.clear()
            broker.kill()
            for file in tmp_path.glob("*.db"):
                file.unlink()
            broker.start()
            await until(lambda: sum(isinstance(e, Connected) for e in found.events) == 2)
            await publish(broker.port, ("devices/a/telemetry", "1"))
            await until(lambda: found.payloads() == [b"1"])
            assert found.bursts[0].renewed


async def test_retained_messages_are_states_and_our_own_topics_nothing(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        await publish(broker.port, ("devices/a/telemetry", "old"), retain=True)
        async with listening(Endpoint(port=broker.port), topics=["#"]) as found:
            await until(lambda: found.device.retained == 1)
            await publish(
                broker.port, ("berrygate/gw/data/pi/readings", "1"), ("devices/a/telemetry", "new")
            )
            await until(lambda: found.payloads() == [b"new"])
            assert found.device.ignored == 1
        states = [event for event in found.events if isinstance(event, StateSeen)]
        assert [(s.name, s.topic, s.payload) for s in states] == [
            ("mqtt", "devices/a/telemetry", b"old")
        ]


async def test_qos_0_needs_no_acknowledgement(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with listening(Endpoint(port=broker.port), qos=0) as found:
            await until(lambda: found.device.trouble == "")
            await publish(broker.port, *(("devices/a/telemetry", str(n)) for n in range(50)))
            await until(lambda: len(found.payloads()) == 50)
        assert {tuple(burst.packet_ids) for burst in found.bursts} == {()}
        assert {burst.on_done for burst in found.bursts} == {None}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_too_large_is_handed_up_as_such_and_acknowledged(
    tmp_path: Path, protocol: str
) -> None:
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        messages = [("devices/a/telemetry", "x" * n) for n in (1_000, 1_001, 3_000_000, 5)]
        async with listening(endpoint, payload=1_000) as found:
            await until(lambda: found.device.trouble == "")
            await publish(broker.port, *messages)
            await until(lambda: len(found.payloads()) == 4)
            assert [len(p) for p in found.payloads()] == [1_000, 1_001, 1_001, 5]
        async with listening(endpoint) as again:
            await asyncio.sleep(0.5)
            assert again.payloads() == []


async def test_qos_0_that_nobody_takes_is_bounded_and_counted(tmp_path: Path) -> None:
    """QoS 1 between it must not open the bound: it is held by its window, and none is lost."""
    count = 60_000
    with mosquitto(tmp_path) as broker:
        async with listening(Endpoint(port=broker.port), window=500) as found:
            await until(lambda: found.device.trouble == "")
            found.open.clear()
            client = paho.Client(paho.CallbackAPIVersion.VERSION2)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            for number in range(count):
                info = client.publish("devices/a/telemetry", str(number), int(number % 100 == 99))
                if number % 1_000 == 999:
                    await asyncio.to_thread(info.wait_for_publish, 10)
            client.disconnect()
            client.loop_stop()
            await until(lambda: found.device.dropped["overload"] > 0)
            found.open.set()
            await until(lambda: len(found.payloads()) + found.device.dropped["overload"] == count)
            kept = {int(p) for p in found.payloads()}
            assert len(kept) < count
            assert set(range(99, count, 100)) <= kept


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_qos_2_of_an_earlier_session_is_not_lost(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path) as broker:
        version = paho.MQTTv5 if protocol == "5" else paho.MQTTv311
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        before = make_client(endpoint, "same", clean=False)
        assert before.protocol == version
        connection = Connection(before, endpoint, clean=False, lost=lambda reason: None)
        subscribed = threading.Event()
        before.on_connect = lambda client, *_: client.subscribe("devices/+/telemetry", 2)
        before.on_subscribe = lambda *_: subscribed.set()
        connection.start()
        assert await asyncio.to_thread(subscribed.wait, 10)
        await asyncio.to_thread(connection.stop)
        await publish(broker.port, *(("devices/a/telemetry", n) for n in "123"), qos=2)
        async with listening(endpoint, client_id="same") as found:
            await until(lambda: found.payloads() == [b"1", b"2", b"3"])
            await asyncio.sleep(0.3)  # PUBCOMP is on its way
        async with listening(endpoint, client_id="same") as again:
            await asyncio.sleep(0.5)
            assert again.payloads() == []


async def test_qos_2_that_was_not_stored_comes_again(tmp_path: Path) -> None:
    """PUBREC before the commit would take the broker's only other copy."""
    with mosquitto(tmp_path) as broker:
        subscribe = ["mosquitto_sub", "-p", str(broker.port), "-i", "same", "-c", "-q", "2", "-E"]
        subscribe += ["-t", "devices/+/telemetry", "-V", "5", "-x", "600"]
        await asyncio.to_thread(subprocess.run, subscribe, check=True, timeout=10)
        await publish(broker.port, ("devices/a/telemetry", "1"), qos=2)
        endpoint = Endpoint(port=broker.port)
        found = Listener(endpoint, client_id="same")
        found.acknowledge = False
        task = asyncio.create_task(found.pump())
        await until(lambda: found.payloads() == [b"1"])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with listening(endpoint, client_id="same") as again:
            await until(lambda: again.payloads() == [b"1"])
            assert again.bursts[0].repeats == [True]
            assert again.bursts[0].packet_ids == found.bursts[0].packet_ids
        async with listening(endpoint, client_id="same") as last:
            await asyncio.sleep(0.5)
            assert last.payloads() == []


async def test_qos_2_is_completed() -> None:
    """Without PUBCOMP the broker would count the message as in flight for ever."""
    sent = b"\x34\x09\x00\x03a/b\x00\x05\x00x"  # PUBLISH, then PUBREL, packet id 5
    with scripted(CONNACK["5"], SUBACK["5"] + sent, b"\x62\x02\x00\x05") as peer:
        async with listening(Endpoint(port=peer.port), topics=["#"]) as found:
            await until(lambda: found.payloads() == [b"x"])
            await until(lambda: b"\x70\x02\x00\x05" in peer.heard[0])


async def test_of_a_mixed_burst_only_qos_0_is_thrown_away() -> None:
    found = Listener(Endpoint())
    device = found.device
    device._receiver.handover = Handover(frames=1)
    client = make_client(Endpoint(), "x", clean=True, factory=BulkClient)
    assert isinstance(client, BulkClient)
    mixed = Frames([b"a", b"b", b"c"], [b"1", b"2", b"3"], [0, 7, 0], [0x30, 0x32, 0x30])
    for _ in range(3):
        device._receiver.frames(client, mixed, 0)
    taken = [burst.payloads for burst in device._receiver.handover._bursts]
    assert taken == [[b"1", b"2", b"3"], [b"2"], [b"2"]]
    assert device.dropped["overload"] == 4


async def test_a_topic_that_is_no_text_ends_nothing() -> None:
    topic = b"devices/\xff\xfe/telemetry"
    packet = publish_packet(topic, b"1", 9, 0, b"\0") + publish_packet(b"a/b", b"2", 10, 0, b"\0")
    with scripted(CONNACK["5"], SUBACK["5"] + packet) as peer:
        async with listening(Endpoint(port=peer.port), topics=["#"]) as found:
            await until(lambda: found.payloads() == [b"1", b"2"])
            await until(lambda: b"\x40\x02\x00\x09\x40\x02\x00\x0a" in peer.heard[0])
        assert found.bursts[0].topics[0] == "devices/\ufffd\ufffd/telemetry"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_refused_subscription_is_told(protocol: str) -> None:
    refusal = {"5": b"\x90\x04\x00\x01\x00\x87", "3.1.1": b"\x90\x03\x00\x01\x80"}[protocol]
    with scripted(CONNACK[protocol], refusal) as peer:
        async with listening(Endpoint(port=peer.port, protocol=protocol)) as found:
            await until(lambda: found.device.denied)
            assert "devices/+/telemetry" in found.device.trouble
            await until(lambda: bool(found.events))
            assert [getattr(event, "error", None) for event in found.events] == ["denied"]


async def test_a_second_life_does_not_acknowledge_for_the_first(tmp_path: Path) -> None:
    """Generations of connections count from the start in each life; packet ids are the same."""
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port)
        found = Listener(endpoint)
        found.acknowledge = False
        first = asyncio.create_task(found.pump())
        await until(lambda: found.device.trouble == "")
        await publish(broker.port, ("devices/a/telemetry", "1"))
        await until(lambda: found.payloads() == [b"1"])
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(found.pump())
        await until(lambda: len(found.payloads()) == 2)
        found.bursts[0].done(Stored())
        await asyncio.sleep(0.3)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        async with listening(endpoint) as again:
            await until(lambda: again.payloads() == [b"1"])


async def test_shared_subscription_divides(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port)
        async with (
            listening(endpoint, shared="farm", client_id="one") as one,
            listening(endpoint, shared="farm", client_id="two") as two,
        ):
            await until(lambda: not one.device.trouble and not two.device.trouble)
            publisher = Publisher(broker.port, 1, lambda n: b"%d" % n)
            await asyncio.to_thread(publisher.run, 0, 200)
            await until(lambda: len(one.payloads()) + len(two.payloads()) == 200)
            assert one.payloads()
            assert two.payloads()


def add_user(passwords: Path) -> None:
    subprocess.run(["mosquitto_passwd", "-b", passwords, "user", "right"], check=True)


async def test_wrong_password_is_told_and_tried_slowly(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch()
    add_user(passwords)
    extra = f"allow_anonymous false\npassword_file {passwords}"
    with mosquitto(tmp_path / "broker", extra) as broker:
        wrong = Endpoint(port=broker.port, username="user", password="wrong")
        async with listening(wrong) as found:
            await until(lambda: found.device.denied)
            assert "authori" in found.device.trouble.lower() or "password" in found.device.trouble
            await until(lambda: bool(found.events))
            assert [getattr(event, "error", None) for event in found.events] == ["denied"]
            assert found.device._connection is not None
            assert found.device._connection._pause == 30.0
        right = Endpoint(port=broker.port, username="user", password="right")
        async with listening(right) as found:
            await until(lambda: found.device.trouble == "")


async def test_tls_with_a_certificate_of_our_own(tmp_path: Path) -> None:
    certificates(tmp_path)
    at = tmp_path
    extra = (
        f"cafile {at}/ca.crt\ncertfile {at}/server.crt\nkeyfile {at}/server.key\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false"
    )
    with mosquitto(tmp_path / "broker", extra) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        files = {
            "ca_file": f"{at}/ca.crt",
            "cert_file": f"{at}/client.crt",
            "key_file": f"{at}/client.key",
        }
        async with listening(Endpoint(), url=url, **files) as found:
            await until(lambda: found.device.trouble == "")
            # Larger than a TLS record: what TLS holds back is not seen by select.
            payload = "x" * 100_000
            client = paho.Client(paho.CallbackAPIVersion.VERSION2)
            client.tls_set(files["ca_file"], files["cert_file"], files["key_file"])
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            for _ in range(20):
                client.publish("devices/a/telemetry", payload, 1)
            await until(lambda: len(found.payloads()) == 20)
            assert {len(p) for p in found.payloads()} == {100_000}
            client.disconnect()
            client.loop_stop()
        async with listening(Endpoint(), url=url, ca_file=files["ca_file"]) as refused:
            await until(lambda: refused.device.trouble not in ("", "connecting"))


async def test_under_load_frames_gather_and_say_for_how_long(tmp_path: Path) -> None:
    """The journal waits so much less, so that together it is no longer than it is told."""
    with mosquitto(tmp_path) as broker:
        async with listening(Endpoint(port=broker.port)) as found:
            publisher = Publisher(broker.port, 1, lambda n: b"%d" % n)
            await asyncio.to_thread(publisher.run, 0, 1, 20)
            await until(lambda: bool(found.bursts))
            assert [burst.waited for burst in found.bursts] == [0.0]
            await asyncio.to_thread(publisher.run, 1, 1_000, 500)
            publisher.close()
            await until(lambda: len(found.payloads()) == 1_001)
        waited = [burst.waited for burst in found.bursts]
    assert 0.0 < max(waited) <= 0.2
    assert len(waited) < 200


async def test_names_come_from_topics(tmp_path: Path) -> None:
    found = Listener(Endpoint(), topics=["plant/+/+/data", "tele/#"], device="{1}")
    assert found.device.device_of("plant/hall/pump/data") == "hall"
    assert found.device.device_of("tele/a/b") == "a/b"
    with pytest.raises(DecodeError):
        found.device.device_of("elsewhere")


@pytest.mark.parametrize(
    "settings",
    [
        {"topics": []}, {"topics": ["a/#/b"]}, {"topics": ["a/b+"]}, {"device": "{2}"},
        {"url": "http://broker"}, {"qos": 2}, {"shared": "a/b"}, {"window": 0},
    ],
)  # fmt: skip
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MqttSettings.model_validate(settings)


async def test_two_clients_with_one_id_do_not_spin(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port)
        async with (
            listening(endpoint, client_id="same") as one,
            listening(endpoint, client_id="same") as two,
        ):
            await asyncio.sleep(4)
            connected = [
                sum(isinstance(event, Connected) for event in found.events) for found in (one, two)
            ]
            assert sum(connected) < 20


def test_a_broker_can_be_started_twice_on_one_port(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path).start()
    broker.stop()
    broker.start()
    broker.kill()


async def test_only_what_waited_at_the_broker_is_marked_late(tmp_path: Path) -> None:
    """Otherwise hours of an outage look as if they had happened the moment it ended."""
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port)
        async with listening(endpoint) as found:
            await publish(broker.port, ("devices/a/telemetry", "0"))
            await until(lambda: len(found.payloads()) == 1)
        publisher = Publisher(broker.port, 1, lambda n: b"%d" % n)
        await asyncio.to_thread(publisher.run, 1, 5_000)
        publisher.close()
        async with listening(endpoint) as again:
            await until(lambda: len(again.payloads()) == 5_000)
            await asyncio.sleep(0.5)
            await publish(broker.port, ("devices/a/telemetry", "5001"))
            await until(lambda: len(again.payloads()) == 5_001)
        late = [burst.late for burst in [*found.bursts, *again.bursts] for _ in burst.payloads]
        assert late == [False, *[True] * 5_000, False]


async def test_what_gateways_bridged_is_told_and_our_own_ignored(tmp_path: Path) -> None:
    """In one read: ours, another gateway's, a device's."""
    with mosquitto(tmp_path) as broker:
        endpoint = Endpoint(port=broker.port)
        async with listening(endpoint) as found:
            await until(lambda: found.device.trouble == "")
            client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            for number in range(300):
                marks = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                if number % 3 < 2:
                    marks.UserProperty = [("a", "b"), ("berrygate", ("gw", "gw2")[number % 3])]
                topic = "devices/a/telemetry"
                client.publish(topic, b"%d" % number, 1, properties=marks)
            await until(lambda: len(found.payloads()) == 200)
            await until(lambda: found.device.details()["ignored"] == 100)
            client.disconnect()
            client.loop_stop()
        marked = [m for b in found.bursts for m in b.forwarded or [False] * len(b)]
        assert [int(p) for p in found.payloads()] == [n for n in range(300) if n % 3]
        assert marked == [bool(n % 3 == 1) for n in range(300) if n % 3]
        async with listening(endpoint) as again:
            await asyncio.sleep(0.5)
            assert again.payloads() == []  # everything was acknowledged
