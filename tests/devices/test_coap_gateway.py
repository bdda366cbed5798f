"""CoAP as devices have it: a gateway of its own process, and libcoap's client."""

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import coap
from tests.support.coap import Client, libcoap
from tests.support.faults import runs, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.subscriber import subscriber


class House:
    """A gateway with a CoAP device, and its port for that."""

    def __init__(self, running: Gateway, port: int) -> None:
        self.gateway = running
        self.port = port

    def uri(self, path: str) -> str:
        return f"coap://127.0.0.1:{self.port}/{path}"


@contextmanager
def house(directory: Path, device: dict[str, Any] | None = None, **config: Any) -> Iterator[House]:
    port, broker = free_port(), free_port()
    devices = [{"type": "coap", "port": port, **(device or {})}]
    with gateway(directory, broker={"port": broker}, devices=devices, **config) as running:
        yield House(running, port)


def ledger(running: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = running.api("status")["ledger"]["sources"]["coap"]
    return found


def test_libcoap_is_answered_and_what_it_sent_is_in_history(tmp_path: Path) -> None:
    with house(tmp_path) as found:
        uri = found.uri("telemetry/soil-4")
        sent = libcoap("-m", "post", "-t", "50", "-e", '{"moisture": 31.5}', "-v", "6", uri)
        assert "c:2.04" in sent.stdout + sent.stderr
        found.gateway.wait(lambda: found.gateway.values("soil-4", "moisture") == [31.5])
        refused = libcoap("-m", "put", "-t", "50", "-e", '{"moisture":', uri)
        assert "4.00 not JSON" in refused.stdout + refused.stderr
        assert ledger(found.gateway)["dead_lettered"] == 1
        payload = tmp_path / "large.json"
        payload.write_text(json.dumps([{"n": number} for number in range(1_000)]))
        large = libcoap("-m", "put", "-t", "50", "-b", "256", "-f", str(payload), "-v", "6", uri)
        assert "c:2.04" in large.stdout + large.stderr
        found.gateway.wait(lambda: len(found.gateway.values("soil-4", "n")) == 1_000)
        health = libcoap(found.uri("health"))
        assert '"level"' in health.stdout
        assert found.gateway.differences() == {"coap": 0}


def test_what_is_too_large_for_the_configuration(tmp_path: Path) -> None:
    with house(tmp_path, limits={"payload": "2kB"}) as found, Client(found.port) as client:
        payload = tmp_path / "large.json"
        payload.write_text("[" + "1," * 2_000 + "1]")
        uri = found.uri("telemetry/a")
        answer = libcoap("-m", "post", "-t", "50", "-f", str(payload), "-v", "6", uri)
        assert "c:4.13" in answer.stdout + answer.stderr
        assert client.post("a", b"1").code == "2.04"


def test_limits_of_devices_and_rates_have_their_answers_and_are_counted(tmp_path: Path) -> None:
    limits = {"devices": 3, "rate": 1, "burst": 2}
    with house(tmp_path, limits=limits) as found, Client(found.port) as client:
        codes = [client.post(f"d{n}", b"1").code for n in range(5)]
        assert codes[:2] == ["2.04", "2.04"]
        assert codes[-1] == "5.03"
        flood = [client.post("d0", b"1").code for _ in range(5)]
        assert "4.29" in flood
        status = found.gateway.api("status")
        assert status["limits"]["devices"]["refused"] >= 1
        assert status["limits"]["rate"]["refused"] == flood.count("4.29")
        assert ledger(found.gateway)["dropped"]["rate"] == flood.count("4.29")
        assert found.gateway.differences() == {"coap": 0}


def test_the_house_speaks_for_coap_devices_on_mqtt(tmp_path: Path) -> None:
    with (
        house(tmp_path) as found,
        Client(found.port) as client,
        subscriber(found.gateway.broker_port, "berrygate/test/+/soil-4/+") as heard,
    ):
        assert client.post("Soil-4", b'{"moisture": 31}').code == "2.04"
        wanted = {f"berrygate/test/{each}/soil-4" for each in ("data", "state", "meta", "status")}

        def seen() -> dict[str, Any]:
            return {each.topic.rpartition("/")[0]: each.json for each in heard.messages}

        found.gateway.wait(lambda: wanted <= seen().keys())
        assert seen()["berrygate/test/data/soil-4"]["values"] == {"moisture": 31}
        assert seen()["berrygate/test/meta/soil-4"] == {"source": "coap", "name": "Soil-4"}
        assert seen()["berrygate/test/status/soil-4"]["state"] == "online"


def test_an_answer_comes_soon_although_the_card_is_spared(tmp_path: Path) -> None:
    """The journal gathers for 30 s; who waits for an answer does not."""
    with house(tmp_path, journal={"gather": "30s"}) as found, Client(found.port) as client:
        client.post("a", b"1")
        began = time.monotonic()
        assert client.post("a", b"2").code == "2.04"
        assert time.monotonic() - began < 5


@pytest.mark.timeout(300)
def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    chance = seeded()
    answered: list[int] = []
    sent = 0
    with house(tmp_path, journal={"gather": "30s"}) as found:
        for _ in range(runs(4, 20)):
            with Client(found.port) as client:
                for _ in range(chance.randrange(1, 6)):
                    if client.post("a", b'{"n": %d}' % sent).code == "2.04":
                        answered.append(sent)
                    sent += 1
            found.gateway.kill()
            found.gateway.start()
        stored = found.gateway.values("a", "n")
        found.gateway.wait(lambda: len(found.gateway.values("a", "n")) >= len(answered))
        stored = found.gateway.values("a", "n")
        assert [n for n in answered if float(n) not in stored] == []
        assert len(stored) == len(set(stored)), "twice"
    assert answered


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_sends_them_away_and_loses_nothing_it_had_answered(tmp_path: Path) -> None:
    chance = random.Random(5)

    def large(number: int) -> bytes:
        noise = ", ".join(f'"v{n}": {chance.random()}' for n in range(30))
        return f'{{"n": {number}, {noise}}}'.encode()

    with small_disk(tmp_path / "disk", "40m") as disk, Filling(disk) as filling:
        data = {"id": "test", "data_dir": str(tmp_path / "disk/data")}
        with house(tmp_path, gateway=data, journal={"max_size": "8MB"}) as found:
            answered: list[int] = []
            with Client(found.port) as client:
                assert client.post("a", large(0)).code == "2.04"
                answered.append(0)
                filling.begin()
                for number in range(1, 10_000):
                    answer = client.post(f"d{number}", large(number))
                    if answer.code != "2.04":
                        break
                    answered.append(number)
                assert answer.code == "5.03"
                assert answer.number(coap.MAX_AGE) >= 1
                began = time.monotonic()
                assert client.post("a", large(10_000)).code == "5.03"
                assert time.monotonic() - began < 8, "it is known to be full"
                filling.end()
                found.gateway.wait(lambda: client.post("a", large(10_001)).code == "2.04")
                answered.append(10_001)
            found.gateway.kill()
            found.gateway.start()

            def lost() -> list[int]:
                devices = [device["id"] for device in found.gateway.api("devices")]
                stored = {v for device in devices for v in found.gateway.values(device, "n")}
                return [number for number in answered if float(number) not in stored]

            found.gateway.wait(lambda: not lost())
            assert found.gateway.differences() == {"coap": 0}


class Filling:
    """Takes all the room there is, again and again."""

    def __init__(self, disk: SmallDisk) -> None:
        self._disk = disk
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Filling":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def begin(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._disk.fill()
            self._stop.wait(0.05)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._disk.free()


@pytest.mark.timeout(200)
def test_two_hundred_devices_at_once_for_a_while_lose_nothing(tmp_path: Path) -> None:
    """Each sends the next as soon as the one before is answered."""
    with house(tmp_path) as found:
        answered: list[tuple[str, int]] = []
        until = time.monotonic() + 5

        def device(name: str) -> None:
            with Client(found.port) as client:
                number = 0
                while time.monotonic() < until:
                    if client.post(name, b'{"n": %d}' % number, None).code == "2.04":
                        answered.append((name, number))
                    number += 1
                    time.sleep(1)

        threads = [threading.Thread(target=device, args=(f"d{n}",)) for n in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({name for name, _ in answered}) == 200
        entry = ledger(found.gateway)
        assert entry["difference"] == 0
        assert entry["journalled"] == len(answered), "lost, or stored twice"
        found.gateway.wait(
            lambda: all(
                set(found.gateway.values(f"d{n}", "n"))
                == {float(number) for name, number in answered if name == f"d{n}"}
                for n in range(0, 200, 20)
            )
        )


def test_health_is_observed_by_libcoap(tmp_path: Path) -> None:
    with house(tmp_path) as found:
        answer = libcoap("-s", "3", "-B", "4", found.uri("health"))
        assert '"score"' in answer.stdout


def test_a_reload_takes_another_port_and_clears_what_was_retained(tmp_path: Path) -> None:
    with house(tmp_path) as found, Client(found.port) as client:
        assert client.post("soil-4", b"1").code == "2.04"
        other = free_port()
        text = found.gateway.config.read_text()
        found.gateway.config.write_text(text.replace(str(found.port), str(other)))
        assert found.gateway.command("reload").returncode == 0
        with Client(other) as again:
            assert again.post("soil-4", b"2").code == "2.04"
        found.gateway.wait(lambda: found.gateway.values("soil-4", "value") == [1.0, 2.0])
        assert found.gateway.differences() == {"coap": 0}
