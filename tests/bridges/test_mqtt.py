"""The MQTT bridge against real brokers."""

import asyncio
import json
import math
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridges.mqtt import MqttBridgeSettings
from gateway.codecs.json import JsonCodec
from gateway.codecs.json_message import payload
from gateway.core.contracts import Batch, Bridge, Context, Endpoint, Flag, Reading, Value
from gateway.core.errors import Denied, Rejected, Unavailable
from gateway.core.settings import RetrySettings
from gateway.stages import compose
from gateway.stages.health import HealthStage
from gateway.stages.retry import Retry
from tests.support.certificates import certificates
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber

NOW = 1_795_212_000_123 * 10**6


def bridge(there: int, /, **more: Any) -> Bridge[Any]:
    """A bridge as configured by a user."""
    given = {"url": f"mqtt://127.0.0.1:{there}", "timeout": "2s", **more}
    settings = MqttBridgeSettings.model_validate(given)
    context = Context("gw", "berrygate", Path(), Endpoint(), lambda event: None)
    return settings.build("sink", context)


def batch(size: int, first: int = 0, **values: Value) -> Batch:
    readings = [
        Reading(f"d{n % 5}", NOW + n * 10**6, {"n": float(n)} | values)
        for n in range(first, first + size)
    ]
    return Batch(1, size + 1, readings)


async def send(sink: Bridge[Any], work: Batch) -> None:
    async with sink.connect() as conn:
        await sink.send(conn, work)


async def came(found: Subscriber, count: int) -> None:
    await asyncio.to_thread(found.count, count)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("inflight", [1, 20, 20_000])
@pytest.mark.parametrize("qos", [0, 1])
async def test_delivers_in_order(tmp_path: Path, protocol: str, inflight: int, qos: int) -> None:
    with (
        mosquitto(tmp_path, f"max_inflight_messages {inflight}") as broker,
        subscriber(broker.port) as found,
    ):
        sink = bridge(broker.port, protocol=protocol, qos=qos)
        async with sink.connect() as conn:
            await sink.send(conn, batch(500))
            await sink.send(conn, batch(100, 500))
        await came(found, 600)
        assert found.numbers() == list(range(600))
        assert {m.qos for m in found.messages} == {qos}
        assert found.messages[7].topic == "devices/gw/d2/telemetry"
        assert found.messages[7].json == {"time": NOW // 10**6 + 7, "n": 7.0}


async def test_what_a_message_carries(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, subscriber(broker.port) as found:
        more = {"topic": "x/{gateway}/{device}", "retain": True, "expiry": "1h"}
        await send(bridge(broker.port, **more), batch(1))
        await came(found, 1)
        [message] = found.messages
        assert message.topic == "x/gw/d0"
        assert message.properties.ContentType == "application/json"
        assert message.properties.PayloadFormatIndicator == 1
        assert message.properties.UserProperty == [("berrygate", "gw")]
        assert 3_500 < message.properties.MessageExpiryInterval <= 3_600
        with subscriber(broker.port, client_id="later") as later:
            await came(later, 1)
            assert later.messages[0].retain


async def test_a_message_for_each_metric(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, subscriber(broker.port) as found:
        sink = bridge(broker.port, topic="t/{device}/{metric}")
        work = batch(2, ok=True, mode='a "b"', bad=math.nan, **{"a.b": 3})
        work.readings.append(Reading("x", NOW, {"fine": 1.0, "with+plus": 2.0}))
        with pytest.raises(Rejected, match=r"`\+` cannot be in a topic") as refused:
            await send(sink, work)
        assert refused.value.indices == [2]
        await came(found, 8)
        assert [(m.topic, m.json) for m in found.messages[:4]] == [
            ("t/d0/n", 0.0), ("t/d0/ok", True), ("t/d0/mode", 'a "b"'), ("t/d0/a.b", 3),
        ]  # fmt: skip
        await asyncio.sleep(0.2)
        assert len(found.messages) == 8


async def test_more_messages_than_there_are_packet_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridges.mqtt.LONGEST", 1_023)
    with mosquitto(tmp_path) as broker, subscriber(broker.port) as found:
        values: dict[str, Value] = {f"m{n}": n for n in range(100)}
        work = Batch(1, 101, [Reading("d", NOW + n, values) for n in range(50)])
        await send(bridge(broker.port, topic="t/{device}/{metric}", window=1000), work)
        await came(found, 5_000)
        assert [m.json for m in found.messages] == [*range(100)] * 50


async def test_tls_with_a_certificate_of_our_own(tmp_path: Path) -> None:
    certificates(tmp_path)
    at = tmp_path
    extra = (
        f"cafile {at}/ca.crt\ncertfile {at}/server.crt\nkeyfile {at}/server.key\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false"
    )
    files = {n: f"{at}/{f}" for n, f in (("ca_file", "ca.crt"), ("cert_file", "client.crt"),
                                         ("key_file", "client.key"))}  # fmt: skip
    with mosquitto(tmp_path / "broker", extra) as broker:
        more = {"url": None, "host": "127.0.0.1", "port": broker.port, "tls": True}
        sink = bridge(broker.port, **more, **files)
        async with sink.connect() as conn:
            for _ in range(3):
                await sink.send(conn, batch(500, text="x" * 500))
        with pytest.raises(Denied, match="certificate") as refused:
            await send(bridge(broker.port, **more), batch(1))
        assert "ca_file" in (refused.value.fix or "")
        with pytest.raises(Unavailable):  # it wants to see ours
            await send(bridge(broker.port, **more, ca_file=files["ca_file"]), batch(1))
        with pytest.raises(Denied, match=r"nowhere\.pem"):
            await send(bridge(broker.port, **more, ca_file="/nowhere.pem"), batch(1))


def passwords(directory: Path) -> None:
    """A file with one user for mosquitto."""
    file = directory / "passwords"
    file.write_text("user:right\n")
    subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_wrong_password_needs_a_person(tmp_path: Path, protocol: str) -> None:
    passwords(tmp_path)
    extra = f"allow_anonymous false\npassword_file {tmp_path}/passwords"
    with mosquitto(tmp_path / "broker", extra) as broker:
        more = {"username": "user", "protocol": protocol}
        with pytest.raises(Denied, match=r"ot authorized|user name") as refused:
            await send(bridge(broker.port, **more, password="wrong-one"), batch(1))
        assert "wrong-one" not in str(refused.value)
        await send(bridge(broker.port, **more, password="right"), batch(1))


async def test_a_topic_that_is_not_allowed_needs_a_person(tmp_path: Path) -> None:
    """The broker says so in its acknowledgement (0x87); what it took is not sent again."""
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write devices/gw/d1/#\ntopic write devices/gw/d2/#\n")
    with (
        mosquitto(tmp_path / "broker", f"acl_file {acl}") as broker,
        subscriber(broker.port) as found,
    ):
        sink, work = bridge(broker.port), batch(10)
        async with sink.connect() as conn:
            with pytest.raises(Denied, match="Not authorized") as refused:
                await sink.send(conn, work)
        assert "publish" in (refused.value.fix or "")
        await came(found, 4)
        assert sorted(found.numbers()) == [1, 2, 6, 7]
        acl.write_text("topic readwrite #\n")
        assert broker.process is not None
        broker.process.send_signal(1)
        await asyncio.sleep(0.3)
        await send(sink, work)
        await came(found, 10)
        assert sorted(found.numbers()) == list(range(10))


@pytest.mark.parametrize("limit", ["max_packet_size 400", "message_size_limit 300"])
async def test_what_is_too_large_for_the_broker_is_named(tmp_path: Path, limit: str) -> None:
    """Known before it is sent where the broker told it when we connected, else from its answer."""
    with mosquitto(tmp_path, limit) as broker, subscriber(broker.port) as found:
        work = batch(500)
        work.readings[250].values = {"n": 250.0, "text": "x" * 1_000}
        sink = bridge(broker.port)
        async with sink.connect() as conn:
            with pytest.raises(Rejected, match=r"1[0-9]{3} bytes|too large") as refused:
                await sink.send(conn, work)
            assert refused.value.indices == [250]
            await sink.send(conn, batch(1, 500))  # the connection is still there
        await came(found, 500)
        assert sorted(found.numbers()) == [*range(250), *range(251, 501)]


async def test_an_old_broker_that_only_hangs_up(tmp_path: Path) -> None:
    """Nothing says which message it minds, nor that it minds one: found by sending singly."""
    with mosquitto(tmp_path, "max_packet_size 400") as broker, subscriber(broker.port) as found:
        work, attempts = batch(20), 0
        work.readings[7].values |= {"text": "x" * 1_000}
        sink = bridge(broker.port, protocol="3.1.1")
        async with sink.connect() as conn:
            refused: Rejected | None = None
            while refused is None:
                attempts += 1
                try:
                    await sink.send(conn, work)
                except Unavailable:
                    continue
                except Rejected as error:
                    refused = error
        assert refused.indices == [7]
        assert attempts <= 8
        await came(found, 19)
        assert set(found.numbers()) == {*range(7), *range(8, 20)}
        with pytest.raises(Rejected) as told:
            await send(
                bridge(broker.port, protocol="3.1.1", max_packet="400B"), batch(1, text="x" * 999)
            )
        assert told.value.indices == [0]


@pytest.mark.parametrize("place", [0, 250, 499])
async def test_one_bad_record_in_500(tmp_path: Path, place: int) -> None:
    """499 are delivered, one is a dead letter; nothing is sent twice."""
    with mosquitto(tmp_path) as broker, subscriber(broker.port) as found:
        work, dead = batch(500), []
        work.readings[place].values = {"time": 5.0}
        sink = bridge(broker.port)

        async def bury(readings: list[Reading], text: str, reason: str) -> None:
            dead.extend(readings)

        async with sink.connect() as conn:

            async def write(part: Batch) -> None:
                await sink.send(conn, part)

            retry = Retry("sink", RetrySettings(), bury)
            await compose([retry, HealthStage("sink", lambda event: None)], write)(work)
        assert [reading.values for reading in dead] == [{"time": 5.0}]
        assert (work.tally.delivered, work.tally.dead_lettered) == (499, 1)
        await came(found, 499)
        await asyncio.sleep(0.2)
        assert len(found.messages) == 499


async def test_nobody_there() -> None:
    with pytest.raises(Unavailable, match="refused"):
        await send(bridge(free_port()), batch(1))
    with pytest.raises(Unavailable, match=r"known|resolution"):
        await send(bridge(0, url="mqtt://no-such-host.invalid"), batch(1))


async def test_survives_a_restart_of_the_broker(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        sink = bridge(broker.port)
        async with sink.connect() as conn:
            await sink.send(conn, batch(10))
            broker.stop()
            with pytest.raises(Unavailable):
                await sink.send(conn, batch(20))
            broker.start()
            await sink.send(conn, batch(20))


async def test_an_idle_connection_is_kept_and_a_dead_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.io.mqtt.sender._KEEPALIVE", 1)
    with mosquitto(tmp_path) as broker:
        sink = bridge(broker.port)
        async with sink.connect() as conn:
            await asyncio.sleep(3)  # mosquitto ends what is silent for 1.5 times as long
            assert conn.is_open
            assert broker.process is not None
            broker.process.send_signal(19)
            try:
                async with asyncio.timeout(10):
                    while conn.is_open:
                        await asyncio.sleep(0.05)
            finally:
                broker.process.send_signal(18)


async def test_several_connections_have_client_ids_of_their_own(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, subscriber(broker.port) as found:
        sink = bridge(broker.port, pool={"max": 3})

        async def one(first: int) -> None:
            async with sink.connect() as conn:
                for n in range(5):
                    await sink.send(conn, batch(100, first + n * 100))

        await asyncio.gather(one(0), one(500), one(1000))
        await came(found, 1_500)
        assert sorted(found.numbers()) == list(range(1_500))


def test_another_gateway_reads_what_was_written() -> None:
    values: dict[str, Value] = {
        "f": 21.5, "i": 7, "big": 2.0**60, "t": True, "s": 'a "b" \\ ü null', "tiny": 1e-300,
    }  # fmt: skip
    codec = JsonCodec()
    for moment in (NOW, NOW + 1, NOW + 120_000, 1_234_567_890_123_456_789):
        [(when, found)] = codec.decode("d", payload(Reading("d", moment, values)), 0)
        assert (when, found) == (moment, values)


def test_what_json_has_no_word_for_is_left_out() -> None:
    text = payload(Reading("d", NOW, {"n": math.nan, "i": -math.inf, "s": "null", "x": 1.0}))
    assert json.loads(text) == {"time": NOW // 10**6, "s": "null", "x": 1.0}
    for values in ({"n": math.nan}, {}, {"time": 1.0}, {"n": "\ud800"}):
        with pytest.raises(ValueError, match=r"no value|named time|written as JSON"):
            payload(Reading("d", NOW, values))  # type: ignore[arg-type]


def test_marks() -> None:
    flags = int(Flag.UNSYNCED | Flag.HISTORICAL)
    found = json.loads(payload(Reading("d", NOW, {"n": 1.0}, flags)))
    assert found == {"time": NOW // 10**6, "clock": "unsynced", "historical": True, "n": 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "named by url, or by host"),
        ({"url": "mqtt://a", "host": "b"}, "named by url, or by host"),
        ({"url": "mqtt://a", "port": 1}, "url says that"),
        ({"url": "http://a"}, "broker's URL"),
        ({"url": "mqtt://a", "topic": "a/{what}"}, "may only name"),
        ({"url": "mqtt://a", "topic": "a/{}"}, "may only name"),
        ({"url": "mqtt://a", "topic": "a/+/{device}"}, "cannot be in a topic"),
        ({"url": "mqtt://a", "topic": ""}, "cannot be empty"),
        ({"url": "mqtt://a", "topic": "$SYS/{device}"}, "broker's own"),
        ({"url": "mqtt://a", "protocol": "3.1.1", "expiry": "1h"}, "no expiry"),
        ({"url": "mqtt://a", "cert_file": "a"}, "needs its key"),
        ({"url": "mqtt://a", "qos": 2}, "0 or 1"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MqttBridgeSettings.model_validate(settings)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_twenty_thousand_arrive(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path) as broker, subscriber(broker.port) as found:
        sink = bridge(broker.port, protocol=protocol)
        began = time.monotonic()
        async with sink.connect() as conn:
            for first in range(0, 20_000, 500):
                await sink.send(conn, batch(500, first))
        print(f"{20_000 / (time.monotonic() - began):.0f} messages/s")
        await came(found, 20_000)
        assert found.numbers() == list(range(20_000))
