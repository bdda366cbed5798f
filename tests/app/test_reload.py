"""Going over to another configuration while the gateway runs: only what changed is restarted,
nothing is lost, and what cannot be used changes nothing."""

import copy
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.gateway import Gateway
from tests.support.influx import influx_1
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port
from tests.support.publisher import Publisher

DEVICES = 5


@pytest.fixture
def house(tmp_path: Path) -> Any:
    """A gateway with an embedded broker, one MQTT source and this machine's sensors."""
    with_one = Gateway(
        tmp_path / "gateway",
        broker={"port": free_port()},
        devices=[{"type": "mqtt"}, {"type": "system", "id": "pi", "interval": "1s"}],
        bridges=[],
        journal={"gather": "100ms"},
    ).start()
    yield with_one
    if with_one.process is not None and with_one.process.poll() is None:
        with_one.stop()


def edit(house: Gateway, change: Callable[[dict[str, Any]], None]) -> None:
    config = copy.deepcopy(yaml.safe_load(house.config.read_text()))
    change(config)
    house.config.write_text(yaml.safe_dump(config))


def state(house: Gateway) -> Any:
    return house.api("status")["config"]


def influx(url: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "influxdb", "name": "sink", "version": "1", "url": url, "database": "test",
        "batch": {"wait": "200ms"}, "retry": {"max": "1s"}, **more,
    }  # fmt: skip


def test_only_what_changed_is_restarted(house: Gateway) -> None:
    broker = house.api("status")["broker"]["pid"]
    edit(house, lambda c: c["devices"].append({"type": "system", "id": "second"}))
    said = house.command("reload")
    assert (said.returncode, said.stdout.strip()) == (0, "device second: added"), said.stderr
    house.wait(lambda: "second" in {d["id"] for d in house.api("devices")})
    edit(house, lambda c: c["devices"].pop())
    assert house.command("reload").stdout.strip() == "device second: removed"
    edit(house, lambda c: c["journal"].update(gather="50ms", max_size="16MB"))
    assert house.command("reload").stdout.strip() == "journal: changed"
    assert house.command("reload").stdout.strip() == "nothing has changed"
    assert house.api("status")["broker"]["pid"] == broker
    assert {s["name"] for s in house.api("status")["sources"]} == {"mqtt", "pi"}
    assert house.log.read_text().count("mosquitto listens") == 1


def test_other_limits_of_health_are_taken_over(house: Gateway) -> None:
    def reasons() -> set[str]:
        return {each["metric"] for each in house.api("health")["reasons"]}

    house.wait(lambda: house.api("health")["components"]["stage/machine"]["level"] != "UNKNOWN")
    assert "memory" not in reasons()
    low = {"limits": {"memory": {"warning": 0.01, "critical": 0.02}}}
    edit(house, lambda c: c.update(health=low))
    assert house.command("reload").stdout.strip() == "health: changed"
    house.wait(lambda: "memory" in reasons(), 20)
    edit(house, lambda c: c.update(health={"limits": {"memory": {"weight": 0}}}))
    assert house.command("reload").returncode == 0
    house.wait(lambda: "memory" not in reasons(), 20)


def test_a_bad_configuration_is_refused_and_the_old_one_stays(house: Gateway) -> None:
    good = house.config.read_text()
    house.config.write_text(good.replace("interval: 1s", "interval: soon"))
    said = house.command("reload")
    assert said.returncode == 2
    assert "the configuration in use stays" in said.stderr
    assert "berrygate.yaml:" in said.stderr
    assert "interval" in said.stderr
    assert house.get("/readyz").is_success
    assert state(house)["last_reload"]["ok"] is False
    house.config.write_text(good.replace("id: test", "id: another"))
    said = house.command("reload")
    assert "cannot change gateway" in said.stderr
    assert "restart" in said.stderr
    house.config.write_text(good)
    assert house.command("reload").returncode == 0
    assert state(house)["last_reload"]["ok"] is True


def test_what_cannot_be_had_brings_the_old_one_back(house: Gateway) -> None:
    with mosquitto(house.directory / "other") as taken:
        edit(house, lambda c: (c["api"].update(port=taken.port), c["devices"].pop()))
        said = house.command("reload")
        assert said.returncode == 2
        assert "cannot listen" in said.stderr
        assert "free port" in said.stderr
    house.wait(lambda: {s["name"] for s in house.api("status")["sources"]} == {"mqtt", "pi"})
    assert house.api("status")["ready"]


@pytest.mark.timeout(180)
def test_nothing_is_lost_while_source_bridge_and_broker_change(tmp_path: Path) -> None:
    """A queue's identity does not depend on its settings, and a publisher notices nothing."""
    with mosquitto(tmp_path / "broker") as broker, influx_1(tmp_path / "influx") as sink:
        house = Gateway(
            tmp_path / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[influx(sink.url)],
            journal={"gather": "100ms"},
        ).start()
        house.wait(lambda: house.api("status")["broker"]["connected"])
        publisher, count = Publisher(broker.port, DEVICES), 6_000
        thread = threading.Thread(target=publisher.run, args=(0, count, 500))
        thread.start()
        changes: list[Callable[[dict[str, Any]], Any]] = [
            lambda c: c["bridges"][0].update(pool={"max": 2}),
            lambda c: c["bridges"][0].update(batch={"size": 100, "wait": "100ms"}),
            lambda c: c["devices"][0].update(qos=1, topics=["devices/+/telemetry", "more/+/x"]),
            lambda c: c["bridges"].clear(),
            lambda c: c["bridges"].append(influx(sink.url, pool={"max": 3})),
            lambda c: c.update(limits={"payload": "100kB"}),
            lambda c: c["broker"].update(protocol="3.1.1"),
        ]
        for change in changes:
            time.sleep(1.2)
            edit(house, change)
            said = house.command("reload")
            assert said.returncode == 0, said.stderr
        thread.join()
        publisher.close()
        house.wait(lambda: house.api("status")["ledger"]["sources"]["mqtt"]["journalled"] >= count)
        house.wait(lambda: house.api("status")["ledger"]["bridges"]["sink"]["pending"] == 0)
        ledger = house.api("status")["ledger"]
        print(ledger)
        assert ledger["sources"]["mqtt"]["received"] >= count
        assert set(house.differences().values()) == {0}
        found = Counter(int(v) for d in range(DEVICES) for v in sink.values(f"d{d}", "seq"))
        assert set(range(count)) - set(found) == set()
        assert [n for n, times in found.items() if times > 1] == []
        assert house.stop() == 0


def test_what_is_not_kept_goes_back_also_over_a_kill(house: Gateway) -> None:
    edit(house, lambda c: c["devices"].append({"type": "system", "id": "trial"}))
    said = house.command("reload", "--confirm", "5s")
    assert "reload --keep" in said.stdout, said.stderr
    assert state(house)["trial"] > 0
    house.wait(lambda: state(house)["trial"] is None, 15)
    assert "trial" not in {s["name"] for s in house.api("status")["sources"]}
    house.stop()
    house.start()
    assert "trial" not in {s["name"] for s in house.api("status")["sources"]}
    assert "was not kept" in house.log.read_text()
    assert house.command("reload").stdout.strip() == "device trial: added"
    house.kill()
    house.start()
    assert "trial" in {s["name"] for s in house.api("status")["sources"]}
    edit(house, lambda c: c["devices"].pop())
    assert house.command("reload", "--confirm", "60s").returncode == 0
    house.kill()
    house.start()
    assert "trial" in {s["name"] for s in house.api("status")["sources"]}


def test_what_is_kept_stays(house: Gateway) -> None:
    assert house.command("reload", "--keep").returncode == 1
    edit(house, lambda c: c["devices"].append({"type": "system", "id": "trial"}))
    assert house.command("reload", "--confirm", "5s").returncode == 0
    again = house.command("reload", "--confirm", "5s")
    assert again.returncode == 2
    assert "on trial already" in again.stderr
    assert house.command("reload", "--keep").stdout.strip() == "kept"
    time.sleep(6)
    assert "trial" in {s["name"] for s in house.api("status")["sources"]}
    house.stop()
    house.start()
    assert "trial" in {s["name"] for s in house.api("status")["sources"]}


def test_a_signal_and_a_change_of_the_file_reload(house: Gateway) -> None:
    edit(house, lambda c: c.update(reload={"watch": True}))
    assert house.process is not None
    os.kill(house.process.pid, signal.SIGHUP)
    house.wait(lambda: state(house)["last_reload"] is not None)
    edit(house, lambda c: c["devices"].append({"type": "system", "id": "watched"}))
    house.wait(lambda: "watched" in {s["name"] for s in house.api("status")["sources"]}, 15)
    house.config.write_text("devices: [")
    house.wait(lambda: state(house)["last_reload"]["ok"] is False, 15)
    assert house.log.read_text().count("refused, the one in use stays") == 1
    assert house.get("/readyz").is_success
