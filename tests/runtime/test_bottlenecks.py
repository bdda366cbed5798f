"""What limits is a reason in health, an event, and an alert; it ends when it ends."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway.config.health import HealthSettings
from gateway.core.events import Bottleneck, Event
from gateway.core.settings import BridgeSettings
from gateway.runtime.bottlenecks import figures, limited, part_of
from gateway.runtime.house import House
from gateway.runtime.limiting import Limiting, _bridge
from gateway.stages.health import Deduction, Health
from gateway.stages.profiling import Cause, Detector, Limit, ProfilingSettings
from tests.support.delivering import delivering, now_numbered
from tests.support.journal import open_bus, publish
from tests.support.lines import LineBridge
from tests.support.ports import free_port
from tests.support.slowed import a_core, slowed
from tests.support.subscriber import subscriber


def limit(stage: str, cause: str, since: float = 0.0) -> Limit:
    began = time.monotonic() - since
    return Limit(Cause(stage, cause, f"{stage} waits"), began, time.time() - since, began)


def house(*limits: Limit, **more: Any) -> House:
    settings = ProfilingSettings()
    profiler = SimpleNamespace(limits=limits, settings=settings, loop=None)
    health = Health(HealthSettings().rules())
    more.setdefault("deliveries", {})
    return cast(House, SimpleNamespace(profiler=profiler, health_=health, **more))


def costs(found: Any) -> dict[str, int]:
    return {each.metric: each.cost for each in found}


def test_stages_lie_in_parts() -> None:
    assert part_of("deliver:home") == ("bridge", "home")
    assert part_of("journal") == ("stage", "journal")
    assert part_of("loop") == ("stage", "machine")


def test_it_costs_what_the_part_has_not_lost_already() -> None:
    lost: list[Deduction] = []
    here = house(limit("deliver:home", "remote"), limit("loop", "cpu", since=3_600))
    bridge = limited(here, "bridge", "home", lambda: lost)
    assert costs(bridge()) == {"limiting": 30}
    (reason,) = bridge() or ()
    assert reason.text == "limits (remote): deliver:home waits"
    lost = [Deduction("lag", 90, 60, 22, "behind")]
    assert costs(bridge()) == {"lag": 22, "limiting": 8}
    lost = [Deduction("availability", 60, 10, 80, "away")]
    assert costs(bridge()) == {"availability": 80, "limiting": 1}
    machine = limited(here, "stage", "machine", lambda: None)
    (reason,) = machine() or ()
    assert (reason.cost, reason.text) == (60, "the event loop limits (cpu): loop waits")
    assert limited(here, "stage", "journal", lambda: None)() is None
    assert limited(here, "bridge", "other", lambda: ())() == ()


def test_a_bridge_that_limits_because_it_is_cut_off_says_what_is_done() -> None:
    settings = BridgeSettings(type="x")
    retry = SimpleNamespace(failing="refused")
    away = SimpleNamespace(name="home", state="failing", settings=settings, retry=retry)
    here = house(limit("deliver:home", "remote"), deliveries={"home": away})
    bridge = limited(here, "bridge", "home", lambda: ())
    (reason,) = bridge() or ()
    assert "it tries again by itself" in reason.doing
    retry.failing = ""  # it is only slow
    (reason,) = bridge() or ()
    assert reason.doing == ""


def test_an_alert_on_it_leaves_out_what_fails() -> None:
    def bridge(failing: str) -> Any:
        return SimpleNamespace(retry=SimpleNamespace(failing=failing))

    limits = [limit("deliver:slow", "remote"), limit("deliver:away", "remote")]
    deliveries = {"slow": bridge(""), "away": bridge("refused"), "well": bridge("")}
    found = dict(figures(house(*limits, deliveries=deliveries)))
    assert {part for part, figure in found.items() if figure.value} == {"bridge/slow"}
    assert found["bridge/slow"].why == "deliver:slow waits"
    assert {"bridge/away", "bridge/well", "stage/journal", "stage/decode"} < found.keys()


async def test_both_ends_of_it_are_on_the_bus(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        with bus.live(wants=lambda item: isinstance(item, Event)) as live:
            here = house(bus=bus)
            limiting = Limiting(here)
            for limits in (
                [limit("journal", "disk")],
                [limit("journal", "disk"), limit("deliver:home", "remote")],
                [limit("deliver:home", "remote")],
                [],
            ):
                here.profiler.limits = limits
                limiting._tell()
                limiting._tell()
            seen: list[Any] = []
            async for item in live.items():
                assert isinstance(item, Bottleneck)
                seen.append((f"{item.kind}/{item.name}", item.cause, item.over))
                if len(seen) == 4:
                    break
    assert seen == [
        ("stage/journal", "disk", False),
        ("bridge/home", "remote", False),
        ("stage/journal", "disk", True),
        ("bridge/home", "remote", True),
    ]


def test_a_slow_sink_is_seen_on_mqtt_in_status_and_as_an_alert(tmp_path: Path) -> None:
    rule = {
        "name": "bottleneck", "figure": "limiting", "of": "*", "equals": True, "for": "1s",
        "clear_for": "0s", "message": "{source}: {why}",
    }  # fmt: skip
    with slowed(tmp_path, a_core(), alerts={"rules": [rule], "defaults": False}) as here:
        house = here.house
        with subscriber(house.broker_port, "berrygate/test/health/bridge/sink") as heard:

            def said() -> list[Any]:
                """The last message's reasons why it limits."""
                reasons = heard.messages[-1].json["reasons"] if heard.messages else []
                return [each for each in reasons if each["metric"] == "limiting"]

            heard.wait(lambda: bool(heard.messages) and not said())
            assert house.api("alerts") == []
            here.proxy.delay = 1.5
            began = time.monotonic()
            heard.wait(lambda: bool(said()), 20)
            print(f"on its topic after {time.monotonic() - began:.1f} s")
            assert "limits (remote): " in said()[0]["text"]
            assert heard.messages[-1].json["level"] != "EXCELLENT"
            assert "limits (remote): " in house.command("status").stdout
            house.wait(lambda: bool(house.api("alerts")), 20)
            (alert,) = house.api("alerts")
            assert (alert["rule"], alert["source"]) == ("bottleneck", "bridge/sink")
            here.proxy.delay = 0.0
            heard.wait(lambda: not said(), 30)
            house.wait(lambda: house.api("alerts") == [], 30)
            assert "limits (remote): " not in house.command("status").stdout


async def test_a_bridge_that_is_cut_off_limits_all_the_time(tmp_path: Path) -> None:
    """Also where little comes, so that its queue grows only now and then: it is not said anew with
    every reading."""
    bridge = LineBridge(free_port())
    async with delivering(tmp_path, bridge, retry={"breaker": {"reset": "10m"}}) as work:
        detector, told = Detector(0.9, 0.5), []
        await publish(work.bus, now_numbered(0, 1))
        await work.until(lambda: work.delivery.state == "failing")
        for number in range(1, 41):
            if number % 20 == 10:
                await publish(work.bus, now_numbered(number, number + 1))
            await asyncio.sleep(0.2)
            look = _bridge(work.delivery, detector)
            told += detector.look(time.monotonic(), time.time(), [look])
        assert [cause.stage for cause in told] == ["deliver:lines"]
        assert detector.found
