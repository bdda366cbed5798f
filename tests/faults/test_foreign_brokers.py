"""Subscriptions that go deaf, brokers that forget, and clients that fight over one id."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from gateway.core.contracts import Endpoint
from gateway.core.events import Connected, Disconnected, Failed
from tests.devices.test_mqtt import Listener, listening, publish, until
from tests.support.faults import FULL, outcome, runs
from tests.support.gateway import gateway
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.packets import PacketProxy, kind_of

EVERY = 30.0 if FULL else 1.0
LONGEST = 90.0 if FULL else 20.0  # 90 s is the promise; at 1 s instead of 30 it is far less


class Deafening(PacketProxy):
    """Swallows every PUBLISH while it is told to, and answers pings all the same."""

    swallow = False

    def _parts(self, number: int, packets: Iterator[bytes]):  # type: ignore[no-untyped-def]
        kept = (each for each in packets if not (self.swallow and kind_of(each) == "PUBLISH"))
        return super()._parts(number, kept)


def failures(found: Listener) -> list[str]:
    return [event.error for event in found.events if isinstance(event, Failed)]


def reload(broker: Mosquitto, rules: Path, text: str) -> None:
    rules.write_text(text)
    assert broker.process is not None
    os.kill(broker.process.pid, signal.SIGHUP)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.timeout(300)
async def test_rules_that_were_changed_do_not_make_it_deaf_unnoticed(
    tmp_path: Path, protocol: str
) -> None:
    """mosquitto goes on answering pings, and takes every subscription, but delivers nothing."""
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite #\n")
    with mosquitto(tmp_path / "broker", f"acl_file {rules}") as broker:
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        async with listening(endpoint, canary=f"{EVERY}s") as found:
            await until(lambda: found.device._canary._proven, LONGEST)
            reload(broker, rules, "topic write #\n")
            began = time.monotonic()
            await until(lambda: "deaf" in found.device.trouble, LONGEST)
            noticed = time.monotonic() - began
            await until(lambda: "deaf" in failures(found))
            await publish(broker.port, ("devices/a/telemetry", "1"))
            reload(broker, rules, "topic readwrite #\n")
            await until(lambda: found.device.trouble == "", LONGEST)
            await publish(broker.port, ("devices/a/telemetry", "2"))
            await until(lambda: b"2" in found.payloads())
            assert failures(found) == ["deaf"]  # once, at the edge
            assert found.device.details()["watched_by"] == "canary"
    outcome(f"deaf-by-rules-mqtt-{protocol}", every_s=EVERY, noticed_after_s=round(noticed, 1))


@pytest.mark.timeout(300)
async def test_a_connection_that_swallows_messages_is_replaced(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        between = Deafening(broker.port)
        try:
            endpoint = Endpoint(port=between.port)
            async with listening(endpoint, canary=f"{EVERY}s") as found:
                await until(lambda: found.device._canary._proven, LONGEST)
                between.swallow = True
                await publish(broker.port, ("devices/a/telemetry", "1"))
                began = time.monotonic()
                await until(lambda: "deaf" in found.device.trouble, LONGEST)
                noticed = time.monotonic() - began
                await until(lambda: between.connections >= 2, LONGEST)
                between.swallow = False
                await until(lambda: found.payloads() == [b"1"], LONGEST)  # it was kept for us
                await until(lambda: found.device.trouble == "", LONGEST)
        finally:
            between.stop()
    outcome("deaf-by-swallowing", every_s=EVERY, noticed_after_s=round(noticed, 1))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_broker_that_forbids_the_canary_is_not_called_deaf(
    tmp_path: Path, protocol: str
) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite devices/#\n")
    with mosquitto(tmp_path / "broker", f"acl_file {rules}") as broker:
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        async with listening(endpoint, canary="500ms") as found:
            await until(lambda: found.device.details()["watched_by"] == "subscribing again")
            await asyncio.sleep(2)
            await publish(broker.port, ("devices/a/telemetry", "1"))
            await until(lambda: found.payloads() == [b"1"])
            assert (found.device.trouble, failures(found)) == ("", [])
            assert sum(isinstance(event, Connected) for event in found.events) == 1


async def test_messages_we_hold_back_ourselves_are_no_deafness(tmp_path: Path) -> None:
    """Our disk refuses: nothing is acknowledged, so nothing more comes, the canary neither."""
    with mosquitto(tmp_path) as broker:
        async with listening(Endpoint(port=broker.port), canary="500ms", window=20) as found:
            await until(lambda: found.device._canary._proven)
            found.acknowledge = False
            for number in range(40):
                await publish(broker.port, ("devices/a/telemetry", str(number)))
            await asyncio.sleep(6)
            assert (found.device.trouble, failures(found)) == ("", [])


async def test_the_canary_is_no_reading_and_nothing_to_count(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with listening(Endpoint(port=broker.port), topics=["#"], canary="300ms") as found:
            await until(lambda: found.device._canary._proven)
            await asyncio.sleep(1)
            assert (found.payloads(), found.device.ignored) == ([], 0)


def most_connections(seconds: float) -> int:
    """How often we connect in that time if every pause is the shortest that it may be: a quarter
    of one that doubles from 0.25 s up to a minute."""
    count, spent = 1, 0.0
    while spent <= seconds:
        spent += min(0.25 * 2.0 ** (count - 1), 60.0) / 4
        count += 1
    return count


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_two_clients_with_one_id_do_not_fight_for_ever(tmp_path: Path, protocol: str) -> None:
    seconds = runs(12, 120)
    with mosquitto(tmp_path) as broker:
        version = paho.MQTTv5 if protocol == "5" else paho.MQTTv311
        other = paho.Client(paho.CallbackAPIVersion.VERSION2, "gw-mqtt", protocol=version)
        other.reconnect_delay_set(1, 1)  # it comes back every second, as many libraries do
        theirs: list[float] = []
        other.on_connect = lambda *_: theirs.append(time.monotonic())
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        async with listening(endpoint) as found:
            other.connect("127.0.0.1", broker.port)
            other.loop_start()
            try:
                await asyncio.sleep(seconds)
                ours = sum(isinstance(event, Connected) for event in found.events)
                await until(lambda: bool(found.device.concern), 20)
            finally:
                other.disconnect()
                other.loop_stop()
            assert 'client id "gw-mqtt"' in found.device.concern
            lost = [event.reason for event in found.events if isinstance(event, Disconnected)]
            assert any("gw-mqtt" in reason for reason in lost)
            # Every second it would be `seconds` times.
            assert ours <= most_connections(seconds)
    outcome(f"two-clients-one-id-mqtt-{protocol}", seconds=seconds, our_connections=ours)


def test_a_broker_that_forgets_everything_hears_all_of_it_again(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker", "persistence false") as broker,
        gateway(
            tmp_path / "gateway",
            broker={"url": f"mqtt://127.0.0.1:{broker.port}"},
            devices=[{"type": "mqtt"}, {"type": "system", "id": "pi", "interval": "1s"}],
        ) as house,
    ):
        said = ("status/gateway/presence", "health/gateway/summary", "meta/pi/info",
                "state/pi/readings")  # fmt: skip
        wanted = {f"berrygate/test/{each}" for each in said}

        def retained() -> set[str]:
            command = ["mosquitto_sub", "-p", str(broker.port), "-t", "berrygate/#", "-v"]
            done = subprocess.run(
                [*command, "--retained-only", "-W", "2"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            lines = [line.split(" ", 1) for line in done.stdout.splitlines() if " " in line]
            presence = dict(lines).get("berrygate/test/status/gateway/presence", "{}")
            return set(dict(lines)) if json.loads(presence).get("state") == "online" else set()

        for number in range(runs(2, 10)):
            broker.kill()
            broker.start()
            house.wait(lambda: house.api("status")["sources"][0]["state"] == "running")
            command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-m", str(number)]
            subprocess.run([*command, "-t", "devices/a/telemetry"], check=True, timeout=10)
            house.wait(
                lambda number=number: (
                    house.values("a", "value") == list(map(float, range(number + 1)))
                )
            )
            house.wait(lambda: wanted <= retained())
        assert set(house.differences().values()) == {0}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_filter_that_was_taken_out_is_unsubscribed(tmp_path: Path, protocol: str) -> None:
    """The session lives on at the broker: without that the old topics would come for ever."""
    with mosquitto(tmp_path / "broker") as broker:
        endpoint = Endpoint(port=broker.port, protocol=protocol)
        kept = tmp_path / "data"
        async with listening(endpoint, directory=kept, topics=["old/+", "both/+"]) as found:
            await until(lambda: found.device.trouble == "")
        async with listening(endpoint, directory=kept, shared="farm", topics=["both/+"]) as found:
            await until(lambda: found.device.trouble == "")
            await publish(broker.port, ("old/a", "1"), ("both/a", "2"))
            await until(lambda: b"2" in found.payloads())
            await asyncio.sleep(0.3)
            assert found.payloads() == [b"2"]  # once: the plain filter is gone too
        async with listening(endpoint, directory=kept, topics=["new/+"]) as found:
            await until(lambda: found.device.trouble == "")
            await publish(broker.port, ("old/a", "1"), ("both/a", "2"), ("new/a", "3"))
            await until(lambda: b"3" in found.payloads())
            assert found.payloads() == [b"3"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"session": 1}', '{"filters": [1, ""]}'])
async def test_a_damaged_memory_of_subscriptions_is_in_nobodys_way(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "data/mqtt").mkdir(parents=True)
    (tmp_path / "data/mqtt/mqtt.json").write_text(content)
    with mosquitto(tmp_path / "broker") as broker:
        async with listening(Endpoint(port=broker.port), directory=tmp_path / "data") as found:
            await until(lambda: found.device.trouble == "")
            await publish(broker.port, ("devices/a/telemetry", "1"))
            await until(lambda: found.payloads() == [b"1"])
