"""A serial device at a gateway as its users have it: unplugged, killed, between rubbish."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.cable import Cable
from tests.support.faults import runs, seeded
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port
from tests.support.subscriber import Subscriber, subscriber


def source(house: Gateway) -> dict[str, Any]:
    (found,) = house.api("status")["sources"]
    return dict(found)


def connected(house: Gateway) -> None:
    house.wait(lambda: source(house)["path"] is not None)
    time.sleep(0.1)  # what comes sooner may have begun before


def last(heard: Subscriber, topic: str) -> dict[str, Any]:
    found = [message.json for message in list(heard.messages) if message.topic == topic]
    return dict(found[-1]) if found else {}


def device(cable: Cable, **more: Any) -> dict[str, Any]:
    return {"type": "serial", "id": "scale", "port": str(cable.link), **more}


def test_readings_rubbish_and_a_cable_that_is_pulled(tmp_path: Path, cable: Cable) -> None:
    cable.plug()
    broker = {"port": free_port()}
    with (
        gateway(tmp_path / "house", broker=broker, devices=[device(cable)]) as house,
        subscriber(house.broker_port) as heard,
    ):
        connected(house)
        number, bad = 0, 0
        for _ in range(100):
            cable.say(b'{"n": %d}\r\n' % number)
            number += 1
            if number % 10 == 0:
                cable.say(b"\x00\xfe rubbish\r\n")
                bad += 1
        house.wait(lambda: source(house)["journalled"] == number)
        house.wait(lambda: source(house)["dead_lettered"] == bad)
        assert house.values("scale", "n") == list(range(number))

        presence = "berrygate/test/status/scale/presence"
        heard.wait(lambda: last(heard, presence).get("state") == "online")
        info = last(heard, "berrygate/test/meta/scale/info")
        assert (info["source"], info["port"]) == ("serial", str(cable.link))
        assert any(m.topic == "berrygate/test/data/scale/readings" for m in heard.messages)

        read = source(house)["bytes"]
        cable.say(b'{"n": 9')  # half a line
        house.wait(lambda: source(house)["bytes"] > read)
        cable.unplug()
        pulled = time.monotonic()
        heard.wait(lambda: last(heard, presence)["state"] == "offline", 10)
        health = "berrygate/test/health/stage/intake-scale"
        heard.wait(lambda: "is not there" in str(last(heard, health)["reasons"]), 10)
        print(f"seen after {time.monotonic() - pulled:.1f} s")
        assert "is not there" in last(heard, presence)["evidence"]
        assert last(heard, health)["level"] not in ("EXCELLENT", "GOOD")
        assert source(house)["state"] == "failing"

        cable.plug()
        back = time.monotonic()
        connected(house)
        assert time.monotonic() - back < 10
        assert cable.paths[0] != cable.paths[-1]
        cable.say(b'{"n": %d}\r\n' % number)
        house.wait(lambda: house.values("scale", "n") == list(range(number + 1)))
        heard.wait(lambda: last(heard, presence)["state"] == "online", 10)
        letters = source(house)["dead_lettered"]
        assert letters == bad + 1  # the half line is kept too
        assert house.differences() == {"scale": 0}


def test_nmea_units_and_the_receivers_time(tmp_path: Path, cable: Cable) -> None:
    cable.plug()
    broker = {"port": free_port()}
    settings = device(cable, codec="nmea", baudrate=4800)
    with (
        gateway(tmp_path / "house", broker=broker, devices=[settings]) as house,
        subscriber(house.broker_port, "berrygate/test/meta/#") as heard,
    ):
        connected(house)
        cable.say(
            b"$GPGSV,1,1,00*79\r\n$SDDBT,7.8,f,2.4,M,1.3,F*0D\r\n$SDDBT,7.8,f,2.5,M,1.3,F*0D\r\n"
        )
        house.wait(lambda: house.values("scale", "depth") == [2.4])
        house.wait(lambda: source(house)["dead_lettered"] == 1)
        heard.wait(lambda: last(heard, "berrygate/test/meta/scale/info")["units"]["depth"] == "m")
        assert source(house)["journalled"] == 2  # one of them says nothing that is a reading


class Logger:
    """A data logger with a store of its own. deletes: it forgets a value when it is told to
    (DEL); else with the next request, which it takes for a receipt. answered: each value that it
    gave, in order."""

    def __init__(self, deletes: bool) -> None:
        self.answered: list[int] = []
        self._deletes = deletes
        self._next = 0

    def __call__(self, line: bytes) -> bytes:
        if line == b"DEL":
            self._next += 1
            return b""
        self.answered.append(self._next)
        answer = b'{"n": %d}\r\n' % self._next
        self._next += 0 if self._deletes else 1
        return answer


@pytest.mark.timeout(900)
@pytest.mark.parametrize("confirm", ["", "DEL\\n"], ids=["next request", "confirmed"])
def test_kills_lose_nothing_that_the_device_was_told_is_kept(
    tmp_path: Path, cable: Cable, confirm: str
) -> None:
    chance, rounds = seeded(), runs(4, 60)
    logger = Logger(deletes=bool(confirm))
    cable.answer = logger
    cable.plug()
    settings = device(cable, poll=[{"request": "READ\\n", "every": "20ms", "confirm": confirm}])
    last_answered: set[int] = set()
    house = Gateway(tmp_path / "house", broker={"port": free_port()}, devices=[settings])
    for _ in range(rounds):
        house.start()
        began = len(logger.answered)
        house.wait(lambda n=began: len(logger.answered) > n + 5)
        time.sleep(chance.uniform(0, 0.5))
        house.kill()
        cable.plug()  # who holds a port exclusively and is killed gives it up with its last file
        last_answered.add(logger.answered[-1])
    house.start()
    began = len(logger.answered)
    house.wait(lambda: len(logger.answered) > began + 5)
    done = set(logger.answered[:-2])
    house.wait(lambda: set(map(int, house.values("scale", "n"))) >= done - last_answered)
    kept = sorted(map(int, house.values("scale", "n", points=100_000)))
    house.stop()
    missing = done - set(kept)
    print(
        f"{rounds} kills, {len(done)} values: {len(missing)} lost, "
        f"{len(kept) - len(set(kept))} twice"
    )
    if confirm:
        assert not missing
    else:
        # What it gave last before a kill was on its way, and no request came that told it to go on.
        assert missing <= last_answered
        assert len(kept) == len(set(kept))
