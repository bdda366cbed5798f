"""What a real mosquitto lets devices on the network do, and that they harm nobody else."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from gateway.broker import BrokerOptions, EmbeddedBroker, Lan, LanControl, Listener, accepts
from gateway.core.contracts import Endpoint
from gateway.core.errors import ConfigError
from gateway.core.topics import Topics
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port


@dataclass
class Standing:
    """A broker at work, and what opens it."""

    broker: EmbeddedBroker
    lan: Lan
    control: LanControl
    directory: Path

    def endpoint(self, shown: dict[str, Any], **changed: Any) -> Endpoint:
        """How the new user in `shown` comes in."""
        listener = shown["listeners"][-1]
        settings = {
            "port": listener["port"],
            "tls": listener["tls"],
            "ca_file": shown["ca"]["file"] if listener["tls"] else "",
            "username": shown["new"]["user"],
            "password": shown["new"]["password"],
        }
        return Endpoint(**settings | changed)


@asynccontextmanager
async def standing(directory: Path, *configured: Listener) -> AsyncIterator[Standing]:
    lan = Lan(directory, Topics("berrygate", "gw"), configured)
    broker = EmbeddedBroker(directory, BrokerOptions(port=free_port()), lambda _: None, lan)
    async with broker.running():
        yield Standing(broker, lan, LanControl(broker, lan, "gw"), directory)


def client(endpoint: Endpoint, client_id: str = "x") -> paho.Client:
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
    if endpoint.username:
        made.username_pw_set(endpoint.username, endpoint.password)
    if endpoint.tls:
        made.tls_set(endpoint.ca_file)
    made.connect(endpoint.host, endpoint.port)
    made.loop_start()
    return made


def published(endpoint: Endpoint, topic: str) -> str:
    """The broker's word on a QoS 1 PUBLISH."""
    said: list[str] = []
    made = client(endpoint)
    made.on_publish = lambda _c, _u, _mid, reason, _p: said.append(str(reason))
    made.publish(topic, b"1", 1).wait_for_publish(5)
    made.disconnect()
    made.loop_stop()
    return said[0]


async def test_a_user_writes_below_its_own_name_only(tmp_path: Path) -> None:
    async with standing(tmp_path) as found:
        shown = await found.control.open("127.0.0.1", free_port(), False, "scale")
        endpoint = found.endpoint(shown)
        for topic, allowed in {
            "devices/scale/telemetry": True,
            "devices/scale/deep/er": True,
            "berrygate/gw/reported/scale/mode": True,
            "devices/pump/telemetry": False,
            "devices/scale2/telemetry": False,
            "berrygate/gw/status/gateway/presence": False,
            "berrygate/gw/cmd/scale/on": False,
            "berrygate/gw/reported/pump/mode": False,
            "berrygate/other/reported/scale/mode": False,
            "elsewhere": False,
        }.items():
            said = await asyncio.to_thread(published, endpoint, topic)
            assert ("Not authorized" not in said) is allowed, f"{topic}: {said}"


async def test_a_user_hears_its_own_commands_only(tmp_path: Path) -> None:
    async with standing(tmp_path) as found:
        shown = await found.control.open("127.0.0.1", free_port(), False, "scale")
        heard: list[str] = []
        device = client(found.endpoint(shown))
        device.on_message = lambda _c, _u, message: heard.append(message.topic)
        device.subscribe("#", 1)
        await asyncio.sleep(0.3)
        for topic in ("cmd/pump/on", "data/pi/readings", "cmd/scale/on", "desired/scale/mode"):
            await asyncio.to_thread(published, found.broker.endpoint, f"berrygate/gw/{topic}")
        await asyncio.sleep(0.3)
        device.disconnect()
        device.loop_stop()
        assert heard == ["berrygate/gw/cmd/scale/on", "berrygate/gw/desired/scale/mode"]


async def test_nobody_comes_in_without_a_name_or_without_tls(tmp_path: Path) -> None:
    async with standing(tmp_path) as found:
        shown = await found.control.open("127.0.0.1", free_port(), True, None)
        assert shown["new"]["user"] == "device-1"
        assert await accepts(found.endpoint(shown))
        assert not await accepts(found.endpoint(shown, username="", password=""))
        assert not await accepts(found.endpoint(shown, password="wrong"))
        assert not await accepts(found.endpoint(shown, tls=False, ca_file=""))
        assert await accepts(found.broker.endpoint)  # loopback needs no name, as before


async def test_a_user_cannot_take_over_the_gateways_session(tmp_path: Path) -> None:
    """With our client id it would throw us out, and what waits for us away."""
    async with standing(tmp_path) as found:
        shown = await found.control.open("127.0.0.1", free_port(), False, "scale")
        lost: list[Any] = []
        ours = client(found.broker.endpoint, "gw-mqtt")
        ours.on_disconnect = lambda *_: lost.append(1)
        await asyncio.sleep(0.2)
        theirs = client(found.endpoint(shown), "gw-mqtt")
        await asyncio.sleep(0.5)
        assert (ours.is_connected(), theirs.is_connected(), lost) == (True, True, [])
        for each in (ours, theirs):
            each.disconnect()
            each.loop_stop()
        for name in ("gw-mqtt", "gw", "gateway"):
            with pytest.raises(ConfigError, match="gateway's own"):
                await found.control.add_user(name)


async def test_opening_loses_no_session_and_nothing_queued(tmp_path: Path) -> None:
    async with standing(tmp_path) as found:
        port = found.broker.endpoint.port
        common = ["-p", str(port), "-i", "sleeper", "-c", "-q", "1", "-t", "devices/+/telemetry"]
        sub = ["mosquitto_sub", *common, "-E"]
        await asyncio.to_thread(subprocess.run, sub, check=True, timeout=10)
        for number in range(200):
            topic = f"devices/d{number}/telemetry"
            await asyncio.to_thread(published, found.broker.endpoint, topic)
        before = found.broker.pid
        shown = await found.control.open("127.0.0.1", free_port(), False, "scale")
        assert found.broker.pid != before
        assert found.broker.restarts == 0  # not taken for a crash
        said = await asyncio.to_thread(published, found.endpoint(shown), "devices/scale/telemetry")
        assert said == "Success"
        await found.control.close()
        got = await asyncio.to_thread(
            subprocess.run, ["mosquitto_sub", *common, "-C", "201", "-W", "10"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert len(got.stdout.splitlines()) == 201


async def test_users_change_while_others_stay_connected(tmp_path: Path) -> None:
    async with standing(tmp_path) as found:
        shown = await found.control.open("127.0.0.1", free_port(), False, "scale")
        one, pid = found.endpoint(shown), found.broker.pid
        stays = client(one)
        lost: list[Any] = []
        stays.on_disconnect = lambda *_: lost.append(1)
        await asyncio.sleep(0.2)
        added = await found.control.add_user("pump")
        pump = found.endpoint(added)
        assert await accepts(pump)
        renewed = await found.control.renew_password("pump")
        assert await accepts(found.endpoint(renewed))
        assert not await accepts(pump)
        await found.control.remove_user("pump")
        async with asyncio.timeout(5):
            while await accepts(found.endpoint(renewed)):
                await asyncio.sleep(0.05)
        assert (lost, stays.is_connected(), found.broker.pid) == ([], True, pid)
        stays.disconnect()
        stays.loop_stop()


async def test_a_port_that_is_taken_is_told_before_anything_is_stopped(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "theirs") as theirs:
        async with standing(tmp_path / "ours") as found:
            pid = found.broker.pid
            with pytest.raises(ConfigError, match=f"mosquitto .* has port {theirs.port}"):
                await found.control.open("127.0.0.1", theirs.port, False, None)
            assert found.broker.pid == pid
            assert (await found.control.show())["users"] == []


async def test_opening_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    configured = Listener("127.0.0.1", free_port(), False, {"scale": "secret"})
    async with standing(tmp_path, configured) as found:
        with pytest.raises(ConfigError, match="the configuration has a listener"):
            found.lan.open(configured)
        first = await found.control.open("127.0.0.1", free_port(), False, "pump")
        found.lan._file, kept = tmp_path / "nowhere" / "listeners.json", found.lan._file
        with pytest.raises(OSError, match="nowhere"):
            await found.control.open("127.0.0.1", free_port(), False, "valve")
        found.lan._file = kept
        shown = await found.control.show()
        assert shown["users"] == ["pump", "scale"]
        assert [each["port"] for each in shown["listeners"]] == [
            configured.port, first["listeners"][-1]["port"],
        ]  # fmt: skip
        assert await accepts(found.endpoint(first))


async def test_a_listener_that_cannot_be_had_keeps_no_other_from_starting(tmp_path: Path) -> None:
    """The network's port is taken: devices on this machine must not notice."""
    with mosquitto(tmp_path / "theirs") as theirs:
        taken = Listener("127.0.0.1", theirs.port, False, {"scale": "secret"})
        free = Listener("127.0.0.1", free_port(), False, {"pump": "secret"})
        async with standing(tmp_path / "ours", taken, free) as found:
            assert await accepts(found.broker.endpoint)
            assert await accepts(Endpoint(port=free.port, username="pump", password="secret"))
            states = {each["port"]: each["trouble"] for each in found.broker.listeners}
            assert "mosquitto" in states[theirs.port]
            assert states[free.port] is None
            theirs.stop()
            await found.control._keep_up(False)
            assert await accepts(Endpoint(port=theirs.port, username="scale", password="secret"))


async def test_it_is_open_again_after_a_restart_and_closed_when_closed(tmp_path: Path) -> None:
    port = free_port()
    async with standing(tmp_path) as found:
        shown = await found.control.open("127.0.0.1", port, True, "scale")
        endpoint = found.endpoint(shown)
    async with standing(tmp_path) as found:
        assert await accepts(endpoint)
        again = await found.control.open("127.0.0.1", port, True, None)
        assert again["new"] is None  # nothing was to be done
        closed = await found.control.close()
        assert closed["listeners"] == []
        assert closed["users"] == ["scale"]
        assert not await accepts(endpoint)
    async with standing(tmp_path):
        assert not await accepts(endpoint)


@pytest.mark.parametrize("damage", [b"{", b"\xff", b"[1]", b'[{"host":1}]', b"[" * 5_000])
async def test_a_damaged_list_of_listeners_closes_and_goes_on(
    tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / "listeners.json").write_bytes(damage)
    async with standing(tmp_path) as found:
        assert found.broker.listeners == []
        assert len(list(tmp_path.glob("listeners.json.damaged-*"))) == 1


async def test_a_broker_that_is_not_ours_is_not_opened(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "theirs") as theirs:
        lan = Lan(tmp_path, Topics("berrygate", "gw"))
        broker = EmbeddedBroker(tmp_path, BrokerOptions(port=theirs.port), lambda _: None, lan)
        async with broker.running():
            with pytest.raises(ConfigError, match="not the gateway's own"):
                await LanControl(broker, lan, "gw").open("127.0.0.1", free_port(), False, None)


@pytest.mark.parametrize("name", ["Scale", "a b", "", "+", "#", "x" * 65, "a:b", "ä"])
async def test_names_that_would_mean_more_are_refused(tmp_path: Path, name: str) -> None:
    lan = Lan(tmp_path, Topics("berrygate", "gw"))
    broker = EmbeddedBroker(tmp_path, BrokerOptions(), lambda _: None, lan)
    with pytest.raises(ConfigError, match="cannot be a user"):
        await LanControl(broker, lan, "gw").add_user(name)
