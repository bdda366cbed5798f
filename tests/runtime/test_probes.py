"""What parts lose points for, each told with its number."""

import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.config.health import HealthSettings
from gateway.core.contracts import Reading
from gateway.core.settings import BridgeSettings
from gateway.io.sqlite.database import Database
from gateway.runtime.clock import Clock
from gateway.runtime.delivery import Delivery
from gateway.runtime.listening import Around, Attached, Listening
from gateway.runtime.machine import Facts, Machine, machine
from gateway.runtime.probes import Commits, bridge
from gateway.stages.health import Health
from gateway.store.devices import Devices
from gateway.store.rhythm import Rhythm

RULES = HealthSettings().rules()
CLOCK = cast(Clock, SimpleNamespace(synced=True, source="ntp"))


class Now:
    """Time that the test moves (s)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 10_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.time)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    return Now(monkeypatch)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    database = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    yield Devices(database)
    database.close()


def facts(**other: Any) -> Facts:
    usual: dict[str, Any] = {
        "memory": 40.0, "cpu": 10.0, "disk": 50.0, "room": 1e10, "hottest": 50.0, "power": {},
    }  # fmt: skip
    return Facts(**usual | other)


def texts(found: Any) -> dict[str, str]:
    return {each.metric: each.text for each in found}


def test_a_device_is_due_when_it_would_be_silent(devices: Devices, now: Now) -> None:
    name = devices.id_of("pump", "mqtt")
    device = devices.get(name)
    probe = Listening(device, Around(RULES, lambda: 60.0))
    assert probe() is None
    assert not probe.stirred()
    for _ in range(100):
        now.time += 20
        devices.seen([Reading(name, 1, {"a": 1.0})])
    assert probe.stirred()
    assert probe() == ()
    assert not probe.stirred()
    due = probe.due()
    assert due == pytest.approx(now.time + 100, rel=0.01)
    now.time = due - 1
    assert not probe()
    now.time = due + 1
    assert texts(probe()) == {"staleness": "no message for 101 s; its rhythm allows 100 s"}
    costs = []
    for age in (101, 300, 500, 5000):
        now.time = device.heard + age
        costs += [each.cost for each in probe() or ()]
    assert costs == [40, 60, 80, 80]


def test_after_a_start_nobody_knows_of_a_device_until_it_is_heard(
    devices: Devices, now: Now
) -> None:
    name = devices.id_of("pump", "mqtt")
    device = devices.get(name)
    device.last_seen = time.time_ns() - 60 * 10**9  # as saved by the run before
    probe = Listening(device, Around(RULES, lambda: 60.0))
    assert probe() is None
    device.last_seen -= 660 * 10**9
    assert texts(probe()) == {"staleness": "no message for 12 min; its rhythm allows 11 min"}
    devices.seen([Reading(name, 1, {"a": 1.0})])
    assert probe() == ()


def test_a_device_that_speaks_every_hour_is_not_silent_after_a_start(
    devices: Devices, now: Now
) -> None:
    name = devices.id_of("pump", "mqtt")
    device = devices.get(name)
    device.rhythm = Rhythm.restored([(9, 36_000.0, 10.0)], 0.0)
    device.last_seen = time.time_ns() - 3_000 * 10**9
    probe = Listening(device, Around(RULES, lambda: 60.0))
    assert probe() is None
    assert probe.due() == pytest.approx(now.time + 18_060 - 3_000, abs=5)
    device.last_seen -= 16_000 * 10**9
    assert set(texts(probe())) == {"staleness"}
    devices.seen([Reading(name, 1, {"a": 1.0})])
    assert probe() == ()
    now.time += 17_990
    assert probe() == ()


def test_a_device_is_not_given_up_while_its_source_fails(devices: Devices, now: Now) -> None:
    name = devices.id_of("pump", "mqtt")
    trouble = [""]
    probe = Listening(devices.get(name), Around(RULES, lambda: 60.0, lambda source: trouble[0]))
    for _ in range(100):
        now.time += 20
        devices.seen([Reading(name, 1, {"a": 1.0})])
    trouble[0] = "no connection"
    costs = []
    for _ in range(200):
        now.time += 5
        costs += [each.cost for each in probe() or ()]
    assert set(costs) == {40}
    assert texts(probe())["staleness"].endswith("nothing comes from mqtt: no connection")
    trouble[0] = ""
    now.time += 90
    assert [each.cost for each in probe() or ()] == [40]  # it is given its 100 s again
    now.time += 410
    assert [each.cost for each in probe() or ()] == [80]


def test_a_device_at_a_wire_of_ours_is_gone_when_its_source_is(devices: Devices, now: Now) -> None:
    name = devices.id_of("scale", "scale")
    trouble = [""]
    probe = Attached(devices.get(name), Around(RULES, lambda: 60.0, lambda source: trouble[0]))
    assert probe() is None
    devices.seen([Reading(name, 1, {"a": 1.0})])
    assert probe() == ()
    assert probe.due() <= now.time + 1
    assert not probe.stirred()
    trouble[0] = "unplugged"
    assert probe() == ()  # perhaps it is plugged in again at once
    now.time += 3
    (gone,) = probe() or ()
    assert (gone.metric, gone.cost, gone.text) == ("staleness", 80, "it is not there: unplugged")
    now.time += 100_000  # it would be silent as well by now: that is said once
    assert [each.metric for each in probe() or ()] == ["staleness"]
    trouble[0] = ""
    devices.seen([Reading(name, 2, {"a": 1.0})])
    assert probe() == ()


def test_a_device_that_never_was_there_is_told_of(devices: Devices, now: Now) -> None:
    name = devices.id_of("scale", "scale")
    probe = Attached(devices.get(name), Around(RULES, lambda: 60.0, lambda source: "not there"))
    assert probe() is None
    now.time += 3
    assert texts(probe()) == {"staleness": "it is not there: not there"}


def test_a_device_that_says_so_is_gone_however_slow_its_rhythm(devices: Devices, now: Now) -> None:
    name = devices.id_of("plug", "mqtt")
    gone = [False]
    probe = Listening(devices.get(name), Around(RULES, lambda: 60.0, gone=lambda device: gone[0]))
    devices.seen([Reading(name, 1, {"online": True})])
    assert probe() == ()
    gone[0] = True
    devices.seen([Reading(name, 2, {"online": False})])
    (found,) = probe() or ()
    assert (found.metric, found.cost) == ("staleness", 80)
    assert "its last will" in found.text
    gone[0] = False
    devices.seen([Reading(name, 3, {"online": True})])
    assert probe() == ()


def test_a_device_that_floods_is_told_of(devices: Devices, now: Now) -> None:
    name = devices.id_of("pump", "mqtt")
    probe = Listening(devices.get(name), Around(RULES, lambda: 60.0))
    devices.seen([Reading(name, 1, {"a": 1.0})] * 300)
    assert not probe()
    devices.refused(name, 100)
    assert texts(probe()) == {"refused": "25 % of its messages are over its rate"}
    devices.seen([Reading(name, 1, {"a": 1.0})] * 10)
    assert [each.metric for each in probe() or ()] == ["refused"]
    devices.seen([Reading(name, 1, {"a": 1.0})] * 300)
    assert not probe()


def test_the_machine_says_what_is_wrong_with_it(tmp_path: Path, now: Now) -> None:
    health = Health(RULES)
    watched = Machine(tmp_path, lambda: 0)
    probe = machine(watched, CLOCK, health)
    assert probe() is None
    watched.take(facts(), now.time)
    assert not probe()
    watched.take(facts(memory=95.0, disk=98.0, hottest=80.0), now.time)
    assert texts(probe()) == {
        "memory": "memory 95 % used", "disk": "disk 98 % used", "temperature": "80 °C",
    }  # fmt: skip
    now.time += 61
    assert "does not say" in texts(probe())["disk"]
    unset = machine(watched, cast(Clock, SimpleNamespace(synced=False, source="")), health)
    assert texts(unset())["clock"] == "the clock is not set"


@pytest.mark.parametrize(
    ("word", "metric", "cost"),
    [("50005", "under-voltage", 60), ("4", "throttled", 30), ("10000", "was too low", 10)],
)
def test_power_is_read_from_the_firmware(
    tmp_path: Path, now: Now, word: str, metric: str, cost: int
) -> None:
    file = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text(word)
    watched = Machine(tmp_path, lambda: 0, root=tmp_path)
    watched.take(watched.look(), now.time)
    found = [each for each in machine(watched, CLOCK, Health(RULES))() or () if each.cost != 40]
    power = [each for each in found if each.metric == "power"]
    assert [(each.value, each.cost) for each in power] == [(metric, cost)]


def test_a_disk_that_fills_is_told_of_before_it_is_full(tmp_path: Path, now: Now) -> None:
    watched = Machine(tmp_path, lambda: 0)
    probe = machine(watched, CLOCK, Health(RULES))
    begun = now.time
    for _ in range(240):
        now.time += 5
        watched.take(facts(room=2e9 - 1e5 * (now.time - begun)), now.time)
    assert texts(probe()) == {"disk_full": "disk full in about 5 h"}
    for _ in range(500):
        now.time += 5
        watched.take(facts(room=1e9), now.time)
    assert not probe()


def test_a_journal_that_prepares_its_segments_fills_no_disk(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    watched = Machine(tmp_path, lambda: 100_000_000 - journal.stat().st_size)
    journal.write_bytes(b"")
    before = watched.look().room
    with journal.open("wb") as file:
        file.write(bytes(40_000_000))
    assert watched.look().room == pytest.approx(before, abs=20_000_000)


def delivery(**other: Any) -> Delivery:
    subscription = SimpleNamespace(
        ledger=SimpleNamespace(dropped={"damaged": 0, "retention": 0}, difference=lambda _: 0),
        endangered=False, drops_in=None,
    )  # fmt: skip
    parts: dict[str, Any] = {
        "name": "home",
        "state": "running",
        "settings": BridgeSettings.model_validate({"type": "x", "retry": {"failover": "spare"}}),
        "retry": SimpleNamespace(failing="", denied=False),
        "health": SimpleNamespace(failing=0.0, seconds=0.01),
        "pool": SimpleNamespace(unanswered=""),
        "oldest": lambda: 0.0,
        "pending": 0,
        "subscription": subscription,
    }
    return cast(Delivery, SimpleNamespace(**parts | other))


def test_a_bridge_says_what_is_wrong_with_it(now: Now) -> None:
    assert bridge(delivery(), RULES)() == []
    slow = delivery(health=SimpleNamespace(failing=30.0, seconds=12.5), oldest=lambda: 330.0)
    found = bridge(slow, RULES)()
    assert texts(found) == {
        "failed_attempts": "30 % of its writes fail",
        "response_time": "a write takes 12.5 s",
        "lag": "oldest reading waits 6 min",
    }
    assert [each.cost for each in found or ()] == [30, 30, 30]


@pytest.mark.parametrize(
    ("state", "denied", "doing"),
    [
        ("failing", False, "its readings wait in the journal; it tries again by itself"),
        ("denied", True, "it tries again slowly, until a person gives it access"),
        ("stopped", True, "it waits for a person: berrygate bridges resume home"),
        ("failed over", False, "its readings go out through spare"),
        ("paused", False, "a person has paused it; its readings are kept"),
        ("paused", True, "go on: berrygate bridges resume home"),
    ],
)
def test_a_bridge_says_what_is_done_about_it(
    now: Now, state: str, denied: bool, doing: str
) -> None:
    down = delivery(state=state, retry=SimpleNamespace(failing="no connection", denied=denied))
    probe = bridge(down, RULES)
    probe()
    now.time += 60
    (found,) = probe() or ()
    assert doing in found.doing
    assert (found.metric == "paused") == (state == "paused")
    assert found.as_dict()["doing"] == found.doing


def test_a_bridge_that_is_down_says_when_its_queue_is_full(now: Now) -> None:
    down = delivery(retry=SimpleNamespace(failing="no connection", denied=False))
    cast(Any, down.subscription).drops_in = 240.0
    probe = bridge(down, RULES)
    probe()
    now.time += 35
    found = texts(probe())
    assert found["queue_full"] == "queue full in about 4 min: drops readings then"
    assert found["availability"] == "no connection"
    cast(Any, down.retry).failing = ""
    assert texts(probe()) == {}


def test_the_slowest_commit_of_the_last_minute_counts(now: Now) -> None:
    commits = Commits()
    commits.took(10, 2.5)
    now.time += 30
    commits.took(10, 0.1)
    assert commits.worst == 2.5
    now.time += 31
    commits.took(10, 0.2)
    assert commits.worst == 0.2
