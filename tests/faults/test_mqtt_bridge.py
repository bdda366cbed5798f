"""The MQTT bridge of a whole gateway: another broker that is away, cut off, frozen or strict; two
gateways that are bridged to each other; and what arrives in a second gateway.

A subscriber with a persistent session counts at the other broker.
"""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import outcome, runs, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.packets import Cut, packet_proxy
from tests.support.ports import free_port
from tests.support.proxy import proxy
from tests.support.publisher import Publisher
from tests.support.subscriber import Subscriber, subscriber

WINDOW = 100
BATCH = 500


def bridge(port: int, name: str = "sink", **more: Any) -> dict[str, Any]:
    return {
        "type": "mqtt", "name": name, "url": f"mqtt://127.0.0.1:{port}", "timeout": "2s",
        "window": WINDOW, "batch": {"size": BATCH, "wait": "50ms"},
        "retry": {"base": "50ms", "max": "1s", "breaker": {"reset": "500ms"}}, **more,
    }  # fmt: skip


def config(near: Mosquitto, *bridges: dict[str, Any], name: str = "test") -> dict[str, Any]:
    return {
        "broker": {"embedded": False, "port": near.port},
        "devices": [{"type": "mqtt"}],
        "bridges": list(bridges),
        "journal": {"gather": "50ms"},
    }


def of(house: Gateway, name: str = "sink") -> dict[str, Any]:
    found: dict[str, Any] = next(b for b in house.api("bridges") if b["name"] == name)
    return found


def connected(house: Gateway) -> None:
    house.wait(lambda: house.api("status")["broker"]["connected"])
    house.wait(lambda: all(s["state"] == "running" for s in house.api("status")["sources"]))


def settled(house: Gateway, count: int, name: str = "sink") -> None:
    house.wait(lambda: of(house, name)["matched"] >= count and not of(house, name)["pending"])
    assert set(house.differences().values()) == {0}


def all_came(found: Subscriber, sent: int) -> None:
    found.wait(lambda: len(set(found.numbers("seq"))) == sent)


def came_twice(found: Subscriber, sent: int) -> int:
    """How many came again; every number must have come."""
    all_came(found, sent)
    counts = Counter(found.numbers("seq"))
    assert set(counts) == set(range(sent))
    return sum(counts.values()) - sent


@contextmanager
def publishing(port: int) -> Iterator[Publisher]:
    found = Publisher(port)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.timeout(300)
def test_a_connection_cut_at_any_packet_loses_nothing_at_the_other_broker(tmp_path: Path) -> None:
    """What came twice is at most one window for each cut."""
    chance, sent, cuts, most = seeded(), 0, 0, 0
    with (
        mosquitto(tmp_path / "near") as near,
        mosquitto(tmp_path / "far") as far,
        packet_proxy(far.port) as line,
        subscriber(far.port) as found,
        gateway(tmp_path / "gateway", **config(near, bridge(line.port))) as house,
        publishing(near.port) as publisher,
    ):
        connected(house)
        cases = list(product(("PUBLISH", "PUBACK", "CONNACK", "CONNECT"),
                             ("before", "middle", "after")))  # fmt: skip
        for kind, where in cases * runs(1, 10):
            opening = kind.startswith("CONN")
            nth = 1 if opening else chance.randint(1, 250)
            cut = line.cut_next(Cut(kind, nth, where))
            if opening:
                line.cut()
            before = len(found.messages) - len(set(found.numbers("seq")))
            sent = publisher.run(sent, 300, 3_000)
            assert cut.done.wait(30), (kind, where)
            settled(house, sent)
            all_came(found, sent)
            time.sleep(0.1)
            twice = len(found.messages) - len(set(found.numbers("seq"))) - before
            assert twice <= WINDOW, (kind, where)
            most, cuts = max(most, twice), cuts + 1
        repeated = came_twice(found, sent)
    outcome("mqtt-bridge-cuts", cuts=cuts, sent=sent, lost=0, repeated=repeated, most_at_once=most)


@pytest.mark.timeout(300)
def test_another_broker_that_is_away_or_killed_gets_everything_later(tmp_path: Path) -> None:
    sent = 0
    far = Mosquitto(tmp_path / "far").start()
    try:
        with (
            mosquitto(tmp_path / "near") as near,
            subscriber(far.port) as found,
            gateway(tmp_path / "gateway", **config(near, bridge(far.port))) as house,
            publishing(near.port) as publisher,
        ):
            connected(house)
            for end in (far.stop, far.kill):
                sent = publisher.run(sent, 1_000, 5_000)
                settled(house, sent)
                # mosquitto killed forgets what it has not passed on: it is to have done so.
                all_came(found, sent)
                end()
                sent = publisher.run(sent, 2_000, 5_000)
                house.wait(lambda: of(house)["state"] == "failing")
                house.wait(lambda: of(house)["pending"] == 2_000)
                far.start()
                # Its subscriber must be there before what comes for it: it forgot the session.
                found.wait(lambda: found._client.is_connected())
                settled(house, sent)
            house.wait(lambda: of(house)["state"] == "running")
            repeated = came_twice(found, sent)
    finally:
        far.stop()
    outcome("mqtt-bridge-away", sent=sent, lost=0, repeated=repeated)
    assert repeated <= 2 * BATCH


@pytest.mark.timeout(300)
def test_a_frozen_broker_holds_up_nobody_and_the_end_takes_5_s(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "near") as near,
        mosquitto(tmp_path / "far") as far,
        mosquitto(tmp_path / "well") as well,
        subscriber(far.port) as found,
        subscriber(well.port) as healthy,
        publishing(near.port) as publisher,
    ):
        both = config(near, bridge(far.port), bridge(well.port, "well"))
        house = Gateway(tmp_path / "gateway", **both).start()
        connected(house)
        assert publisher.run(0, 1_000, 5_000) == 1_000
        settled(house, 1_000)
        assert far.process is not None
        far.process.send_signal(signal.SIGSTOP)
        try:
            publisher.run(1_000, 2_000, 2_000)
            healthy.wait(lambda: len(set(healthy.numbers("seq"))) == 3_000, 10)
            house.wait(lambda: of(house)["state"] == "failing")
            assert of(house)["pending"] == 2_000
            began = time.monotonic()
            assert house.stop() == 0
            took = time.monotonic() - began
        finally:
            far.process.send_signal(signal.SIGCONT)
        house.start()
        settled(house, 3_000)
        repeated = came_twice(found, 3_000)
        assert came_twice(healthy, 3_000) == 0
        house.stop()
    outcome("mqtt-bridge-frozen", lost=0, repeated=repeated, end_s=round(took, 2))
    assert took <= 5.0


@pytest.mark.timeout(300)
def test_a_killed_gateway_sends_everything_to_the_other_broker(tmp_path: Path) -> None:
    chance, sent, kills = seeded(), 0, runs(4, 30)
    with (
        mosquitto(tmp_path / "near") as near,
        mosquitto(tmp_path / "far") as far,
        subscriber(far.port) as found,
        publishing(near.port) as publisher,
    ):
        house = Gateway(tmp_path / "gateway", **config(near, bridge(far.port)))
        for _ in range(kills):
            house.start()
            connected(house)
            sent = publisher.run(sent, 1_000, 10_000)
            time.sleep(chance.uniform(0, 0.3))
            house.kill()
        house.start()
        all_came(found, sent)
        house.wait(lambda: not of(house)["pending"])
        assert set(house.differences().values()) == {0}
        repeated = came_twice(found, sent)
        house.stop()
    outcome("mqtt-bridge-kills", kills=kills, sent=sent, lost=0, repeated=repeated)


def listening(*topics: str, device: str) -> dict[str, Any]:
    return {"type": "mqtt", "id": "hub", "topics": list(topics), "device": device}


@pytest.mark.timeout(300)
def test_two_gateways_bridged_to_each_other_do_not_multiply(tmp_path: Path) -> None:
    """Each takes in what the other bridges, and would bridge it back."""
    with mosquitto(tmp_path / "a") as a, mosquitto(tmp_path / "b") as b:
        hub = listening("devices/+/+/telemetry", device="{1}-{2}")
        houses = {}
        for name, near, far in (("alpha", a, b), ("beta", b, a)):
            given = config(near, bridge(far.port))
            given["devices"].append(hub)
            given["gateway"] = {"id": name, "data_dir": str(tmp_path / name / "data")}
            houses[name] = Gateway(tmp_path / name, **given).start()
        try:
            for house in houses.values():
                connected(house)
            for near in (a, b):
                with publishing(near.port) as publisher:
                    publisher.run(0, 500)
            for house in houses.values():
                house.wait(lambda house=house: of(house)["matched"] == 1_000)  # type: ignore[misc]
                house.wait(lambda house=house: not of(house)["pending"])  # type: ignore[misc]
            time.sleep(3)
            for house, other in (("alpha", "beta"), ("beta", "alpha")):
                ledger = houses[house].api("status")["ledger"]
                assert set(houses[house].differences().values()) == {0}
                sources, sink = ledger["sources"], ledger["bridges"]["sink"]
                assert sources["mqtt"]["received"] == sources["hub"]["received"] == 500
                assert (sink["delivered"], sink["dropped"]) == (500, {"forwarded": 500})
                devices = {device["id"] for device in houses[house].api("devices")}
                assert devices == {
                    *(f"d{n}" for n in range(10)), *(f"{other}-d{n}" for n in range(10)),
                }  # fmt: skip
        finally:
            for house in houses.values():
                house.stop()


@pytest.mark.timeout(300)
def test_a_way_back_that_the_configuration_does_not_show_is_none(tmp_path: Path) -> None:
    """The other broker is the gateway's own, by another address."""
    with mosquitto(tmp_path / "near") as near, proxy(near.port) as line:
        topic = "devices/{device}/telemetry"
        given = config(near, bridge(line.port, topic=topic))
        with (
            gateway(tmp_path / "gateway", **given) as house,
            publishing(near.port) as publisher,
        ):
            connected(house)
            publisher.run(0, 200)
            settled(house, 200)
            time.sleep(2)
            source = house.api("status")["ledger"]["sources"]["mqtt"]
            assert (source["received"], of(house)["delivered"]) == (200, 200)
        refused = Gateway(tmp_path / "other", **config(near, bridge(near.port, topic=topic)))
        said = refused.command("check")
        assert said.returncode != 0
        assert "would come back" in said.stdout + said.stderr


def points(house: Gateway, device: str, metric: str) -> list[Any]:
    """Times and values, once history has all of them."""
    asked = {"device": device, "metric": metric, "start": "-1h", "points": 1_000}
    house.wait(lambda: len(house.api("query", **asked)["points"]) == 200)
    found: list[Any] = house.api("query", **asked)["points"]
    return found


@pytest.mark.timeout(300)
def test_a_second_gateway_has_the_same_times_and_values(tmp_path: Path) -> None:
    """Through the other gateway's own journal; also times that the first gateway gave."""

    def message(number: int) -> bytes:
        time_ = b"" if number % 2 else b'"time": %d, ' % (now + number)
        word = b"true" if number % 3 else b"false"
        return b'{%s"seq": %d, "t": %.2f, "on": %s, "s": "\xc3\xbc%d"}' % (
            time_, number, number / 7, word, number,
        )  # fmt: skip

    now = int(time.time() * 1000) - 60_000
    with mosquitto(tmp_path / "a") as a, mosquitto(tmp_path / "b") as b:
        given = config(b)
        given["devices"] = [listening("devices/test/+/telemetry", device="{1}")]
        given["gateway"] = {"id": "second", "data_dir": str(tmp_path / "second" / "data")}
        with (
            gateway(tmp_path / "second", **given) as second,
            gateway(tmp_path / "first", **config(a, bridge(b.port))) as first,
        ):
            connected(first)
            connected(second)
            publisher = Publisher(a.port, 3, message)
            publisher.run(0, 600)
            publisher.close()
            settled(first, 600)
            second.wait(
                lambda: second.api("status")["ledger"]["sources"]["hub"]["journalled"] == 600
            )
            for device, metric in product(("d0", "d1", "d2"), ("seq", "t", "on", "s")):
                expected = points(first, device, metric)
                assert points(second, device, metric) == expected
                assert len(expected) == 200


@pytest.mark.timeout(300)
def test_into_the_network_listener_of_a_second_gateway(tmp_path: Path) -> None:
    """As docs/howto/mqtt-bridge.md says: a user of that gateway, by the first one's id."""
    port, lan = free_port(), free_port()
    listener = {"host": "127.0.0.1", "port": lan, "tls": False, "users": {"test": "lan-word"}}
    with (
        mosquitto(tmp_path / "a") as a,
        gateway(
            tmp_path / "second",
            gateway={"id": "second", "data_dir": str(tmp_path / "second" / "data")},
            broker={"port": port, "listeners": [listener]},
            devices=[listening("devices/+/+/telemetry", device="{1}-{2}")],
        ) as second,
        gateway(
            tmp_path / "first",
            **config(a, bridge(lan, username="test", password="lan-word")),
        ) as first,
        publishing(a.port) as publisher,
    ):
        connected(first)
        connected(second)
        publisher.run(0, 1_000)
        settled(first, 1_000)
        second.wait(lambda: second.api("status")["ledger"]["sources"]["hub"]["journalled"] == 1_000)
        assert of(first)["failed"] == {}
        assert "test-d3" in {device["id"] for device in second.api("devices")}


@pytest.mark.timeout(300)
def test_a_wrong_password_and_a_forbidden_topic_are_shown(tmp_path: Path) -> None:
    file, acl = tmp_path / "passwords", tmp_path / "acl"
    file.write_text("user:right\n")
    subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True)
    acl.write_text("user user\ntopic write elsewhere/#\n")
    strict = f"allow_anonymous false\npassword_file {file}\nacl_file {acl}"
    with mosquitto(tmp_path / "near") as near, mosquitto(tmp_path / "far", strict) as far:
        told = {"username": "user"}
        given = config(
            near,
            bridge(far.port, "wrong", **told, password="not-that-one"),
            bridge(far.port, "forbidden", **told, password="right"),
            bridge(far.port, "well", **told, password="right", topic="elsewhere/{device}"),
        )
        with (
            gateway(tmp_path / "gateway", **given) as house,
            publishing(near.port) as publisher,
        ):
            connected(house)
            publisher.run(0, 100)
            for name in ("wrong", "forbidden"):
                house.wait(lambda name=name: of(house, name)["state"] == "denied")  # type: ignore[misc]
                assert of(house, name)["pending"] == 100
                assert "ot authorized" in of(house, name)["last_error"]
            settled(house, 100, "well")
            assert of(house, "well")["delivered"] == 100
            assert "not-that-one" not in house.log.read_text()
            said = json.loads(house.command("doctor", "--json").stdout)
            seen = {
                each["subject"]: each["state"]
                for each in said["findings"]
                if each["check"] == "bridge.reachable"
            }
            # The doctor does not write: which topics are allowed it cannot tell.
            assert seen == {"wrong": "FAIL", "forbidden": "OK", "well": "OK"}
