"""What an operator does with a bridge, on a running gateway: over HTTP and with the command."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway, gateway
from tests.support.influx2 import BUCKET, ORG, TOKEN, Influx2, influx_2
from tests.support.mosquitto import mosquitto
from tests.support.publisher import Publisher


def message(number: int) -> bytes:
    """The first field is text in every tenth message; every hundredth cannot be decoded."""
    if number % 100 == 99:
        return b'{"n": '
    value = f'"{number}"' if number % 10 == 9 else f"{number}.0"
    return f'{{"n": {value}}}'.encode()


def post(house: Gateway, path: str, body: Any = None) -> httpx.Response:
    return httpx.post(f"{house.url}/api/v1/bridges/{path}", json=body, timeout=30)


def ledger(house: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = house.api("status")["ledger"]["bridges"]["sink"]
    assert found["difference"] == 0
    return found


def settled(house: Gateway, matched: int) -> None:
    house.wait(lambda: ledger(house)["matched"] == matched and not ledger(house)["pending"])


def bridge(server: Influx2) -> dict[str, Any]:
    return {
        "type": "influxdb", "name": "sink", "url": server.url, "token": TOKEN, "org": ORG,
        "bucket": BUCKET, "batch": {"wait": "100ms"},
    }  # fmt: skip


@pytest.mark.timeout(300)
def test_an_operators_calls(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, influx_2() as server:
        publisher = Publisher(broker.port, 5, message)
        with gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[bridge(server)],
            journal={"gather": "100ms"},
        ) as house:
            house.wait(lambda: house.api("status")["broker"]["connected"])
            publisher.run(0, 200)
            settled(house, 198)
            refused = ledger(house)["dead_lettered"]
            assert refused == 18
            pausing(house, publisher, server)
            letters(house, server, refused)
            replaying(house, server)
            assert post(house, "cellar/pause").status_code == 404
        publisher.close()


def pausing(house: Gateway, publisher: Publisher, server: Influx2) -> None:
    """A paused bridge stays so over a restart, and then sends everything."""
    assert house.command("bridges", "pause", "sink").stdout == "sink is paused, 0 readings wait\n"
    before = len(server.points)
    assert house.stop() == 0
    house.start()
    house.wait(lambda: house.api("status")["broker"]["connected"])
    publisher.run(200, 9)
    house.wait(lambda: ledger(house)["pending"] == 9)
    assert house.api("bridges")[0]["state"] == "paused"
    assert post(house, "sink/replay", {"start": "-1h"}).status_code == 409
    assert len(server.points) == before
    assert post(house, "sink/resume").json()["state"] == "running"
    settled(house, 207)
    assert len(server.points) == before + 9


def letters(house: Gateway, server: Influx2, refused: int) -> None:
    """Refused ones go through once the sink takes them; undecodable ones are decoded again."""
    found = house.api("bridges/sink/dead-letters", limit=5)
    assert sum(group["count"] for group in found["groups"]) == refused
    assert len(found["letters"]) == 5
    assert "already exists as type float" in found["letters"][0]["detail"]
    assert found["letters"][0]["reading"]["values"]["n"].endswith("9")
    again = post(house, "sink/dead-letters/retry", {}).json()
    assert (again["taken"], len(again["kept"])) == (0, refused)
    server.types.clear()
    server.types |= {(f"d{n}", "n"): "string" for n in range(5)}
    done = house.command("bridges", "retry", "sink", "--all", "--json")
    assert json.loads(done.stdout) == {"taken": refused, "kept": []}
    assert ledger(house)["replayed"] == refused
    assert house.api("bridges/sink/dead-letters")["groups"] == []
    undecoded = house.api("bridges/mqtt/dead-letters")
    assert [letter["payload"] for letter in undecoded["letters"]] == ['{"n": '] * 2
    kept = house.command("bridges", "retry", "mqtt", "--all")
    assert (kept.returncode, kept.stdout.splitlines()[0]) == (1, "0 taken, 2 stay")
    assert "d4" in house.command("bridges", "dead-letters").stdout


def replaying(house: Gateway, server: Influx2) -> None:
    """What a sink lost is sent again."""
    lost = dict(server.points)
    server.points.clear()
    server.types.clear()
    time.sleep(1.1)  # cursors are known to lie behind everything
    done = house.command("bridges", "replay", "sink", "--start", "-1h")
    assert done.returncode == 0, done.stderr
    assert "replay done: 100%" in done.stdout
    assert set(server.points) <= set(lost)
    replay = house.api("bridges")[0]["replay"]
    assert replay["sent"] + replay["refused"] == ledger(house)["matched"]
    assert len(server.points) == replay["sent"]
