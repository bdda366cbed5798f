"""Alerts as their users have them: a gateway, a broker, a mail server, a webhook."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.publish as mqtt
import pytest

from tests.support.gateway import Gateway
from tests.support.mail import mail_server
from tests.support.ports import free_port
from tests.support.receiver import Receiver, receiver
from tests.support.subscriber import subscriber

LOW = {"name": "low", "device": "soil-*", "metric": "battery", "below": 20, "clear_for": "0s"}


def say(port: int, device: str, **values: Any) -> None:
    """One reading."""
    mqtt.single(f"devices/{device}/telemetry", json.dumps(values), 1, port=port)


def say_all(port: int, devices: int, value: float) -> None:
    """One reading of each of many devices, at once."""
    payload = json.dumps({"battery": value})
    topics = [f"devices/soil-{number}/telemetry" for number in range(devices)]
    mqtt.multiple([(topic, payload, 1) for topic in topics], port=port)


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "hook") as found:
        yield found


class Watching(Gateway):
    """A gateway with alerts that go to a webhook."""

    def __init__(self, directory: Path, hook: Receiver | None, **alerts: Any) -> None:
        channels = list(alerts.pop("channels", []))
        if hook is not None:
            channels.append({"name": "hook", "url": hook.url, "allow_private": True, "burst": 100})
        alerts = {"rules": [LOW], "defaults": False, **alerts, "channels": channels}
        journal = {"gather": alerts.pop("gather", "1s")}
        super().__init__(
            directory, broker={"port": free_port()}, alerts=alerts, devices=[{"type": "mqtt"}],
            journal=journal,
        )  # fmt: skip


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    """Starts gateways that are stopped at the end."""
    all_: list[Gateway] = []

    def start(hook: Receiver | None, **alerts: Any) -> Watching:
        found = Watching(tmp_path / "gateway", hook, **alerts)
        all_.append(found)
        found.start()
        return found

    yield start
    for each in all_:
        if each.process is not None and each.process.poll() is None:
            each.stop()


def test_from_a_reading_to_mail_webhook_and_mqtt(
    tmp_path: Path, hook: Receiver, running: Any
) -> None:
    with mail_server(tmp_path / "mail") as mail:
        to_me = {"name": "mail", "url": mail.url, "allow_private": True}
        gateway = running(hook, channels=[to_me])
        port = gateway.broker_port
        with subscriber(port, "berrygate/test/alert/#") as heard:
            began = time.monotonic()
            say(port, "soil-4", battery=10)
            heard.count(1)
            on_mqtt = time.monotonic() - began
            (came,) = hook.wait(1)
            took = time.monotonic() - began
            (letter,) = mail.wait(1)
            print(f"MQTT after {on_mqtt:.2f} s, webhook after {took:.2f} s")
            assert took < 5
            assert on_mqtt < 1
            assert came["title"] == "test: warning low soil-4"
            assert "low soil-4" in letter["Subject"]
            (message,) = heard.messages
            assert message.topic == "berrygate/test/alert/soil-4/low"
            told = message.json
            assert (told["level"], told["value"], told["count"]) == ("warning", 10.0, 1)
            say(port, "soil-4", battery=30)
            assert [each["type"] for each in hook.wait(2)] == ["warning", "success"]
            heard.wait(lambda: heard.messages[-1].payload == b"")
        with subscriber(port, "berrygate/test/alert/#", "later") as later:
            time.sleep(0.3)
            assert later.messages == []  # nothing is retained any more


def test_what_was_decided_survives_a_kill(hook: Receiver, running: Any) -> None:
    hook.refuse()
    gateway = running(hook)
    say_all(gateway.broker_port, 5, 10)
    gateway.wait(lambda: gateway.api("status")["alerts"]["channels"][0]["state"] == "failing")
    gateway.kill()
    hook.refuse(False)
    assert hook.received == []
    gateway.start()
    (came,) = hook.wait(1)
    assert all(f"soil-{n}: battery" in came["message"] for n in range(5))
    assert [alert["state"] for alert in gateway.api("alerts")] == ["firing"] * 5
    time.sleep(4)
    assert len(hook.received) == 1
    # And the broker, which knew nothing any more, has them again.
    with subscriber(gateway.broker_port, "berrygate/test/alert/#") as heard:
        heard.count(5)


@pytest.mark.parametrize("after", [0.0, 1.2, 2.0, 2.6])
def test_a_kill_at_any_moment_loses_none(hook: Receiver, running: Any, after: float) -> None:
    """Once the reading is in the journal and the alert is stored, it is told, whenever we die."""
    gateway = running(hook)
    say_all(gateway.broker_port, 3, 10)
    gateway.wait(lambda: len(gateway.api("alerts")) == 3)
    time.sleep(0.6 + after)  # a tick: it is stored
    gateway.kill()
    gateway.start()
    hook.wait(1)
    time.sleep(3)
    said = " ".join(each["message"] for each in hook.received)
    assert all(f"soil-{n}:" in said for n in range(3))


def test_a_kill_as_soon_as_the_journal_has_it_loses_none(hook: Receiver, running: Any) -> None:
    """Before the alert is stored: that is done once a second. No device says anything twice."""
    gateway = running(hook, gather="20ms")

    def journalled() -> int:
        found: int = gateway.api("status")["ledger"]["sources"]["mqtt"]["journalled"]
        return found

    for number in range(5):
        before = journalled()
        say(gateway.broker_port, f"soil-{number}", battery=10)
        gateway.wait(lambda before=before: journalled() > before)
        gateway.kill()
        gateway.start()
    gateway.wait(lambda: len(gateway.api("alerts")) == 5)
    gateway.wait(
        lambda: all(
            any(f"soil-{n}:" in each["message"] for each in hook.received) for n in range(5)
        )
    )


def test_flapping_is_one_message(hook: Receiver, running: Any) -> None:
    gateway = running(hook, rules=[{**LOW, "clear_for": "3s"}])
    for _ in range(8):
        say(gateway.broker_port, "soil-4", battery=10)
        time.sleep(0.4)
        say(gateway.broker_port, "soil-4", battery=30)
        time.sleep(0.4)
    assert len(hook.received) == 1
    came = hook.wait(2)
    assert [each["type"] for each in came] == ["warning", "success"]
    time.sleep(1)
    assert len(hook.received) == 2


def test_a_thousand_devices_that_go_silent_are_one_message(hook: Receiver, running: Any) -> None:
    rule = {"name": "silent", "device": "soil-*", "metric": "battery", "absent": "5s"}
    gateway = running(hook, rules=[rule])
    say_all(gateway.broker_port, 1_000, 50)
    gateway.wait(lambda: gateway.api("status")["devices"]["count"] == 1_000)
    assert gateway.api("alerts") == []
    (came,) = hook.wait(1)
    assert "1,000 alerts" in came["title"]
    time.sleep(4)
    assert len(hook.received) == 1
    assert len(gateway.api("alerts")) == 1_000


def test_acknowledge_and_silence(hook: Receiver, running: Any) -> None:
    gateway = running(hook)
    port, url = gateway.broker_port, f"{gateway.url}/api/v1"
    made = httpx.post(f"{url}/silences", json={"source": "soil-4", "duration": "6s"})
    assert made.status_code == 201
    say(port, "soil-4", battery=10)
    say(port, "soil-5", battery=10)
    (came,) = hook.wait(1)
    assert "soil-5" in came["title"]
    found = {alert["source"]: alert for alert in gateway.api("alerts")}
    assert found["soil-4"]["state"] == "silenced"
    assert httpx.post(f"{url}/alerts/{found['soil-5']['id']}/ack").json()["state"] == "acknowledged"
    assert httpx.post(f"{url}/alerts/999/ack").status_code == 404
    assert "soil-4" in hook.wait(2)[1]["title"]  # the silence has ended
    assert gateway.api("silences") == []
    gateway.stop()
    gateway.start()
    states = {alert["source"]: alert["state"] for alert in gateway.api("alerts")}
    assert states == {"soil-4": "firing", "soil-5": "acknowledged"}
    shown = gateway.command("alerts")
    assert shown.returncode == 0, shown.stderr
    assert "acknowledged" in shown.stdout
    tested = gateway.command("alerts", "test", "hook")
    assert tested.returncode == 0, tested.stderr
    assert hook.wait(3)[2]["type"] == "info"
    unknown = gateway.command("alerts", "test", "phone")
    assert (unknown.returncode, "there are hook, mqtt" in unknown.stderr) == (1, True)


def cut_off(directory: Path, alerts: dict[str, Any]) -> Gateway:
    """A gateway with a bridge to a broker that is not there."""
    bridge = {"type": "mqtt", "name": "away", "url": f"mqtt://127.0.0.1:{free_port()}",
              "topic": "x/{device}"}  # fmt: skip
    return Gateway(
        directory / "gateway", broker={"port": free_port()}, alerts=alerts, bridges=[bridge]
    ).start()


def test_a_bridge_that_fails(tmp_path: Path, hook: Receiver) -> None:
    rule = {"name": "bridge-failing", "figure": "failing", "of": "bridge/*", "above": 1}
    alerts = {
        "rules": [rule],
        "channels": [{"name": "hook", "url": hook.url, "allow_private": True}],
    }
    gateway = cut_off(tmp_path, alerts)
    try:
        say(gateway.broker_port, "soil-4", battery=10)
        (came,) = hook.wait(1)
        assert "bridge/away: failing is" in came["message"]
        with subscriber(gateway.broker_port, "berrygate/test/alert/#") as heard:
            heard.count(1)
            assert heard.messages[0].topic == "berrygate/test/alert/bridge-away/bridge-failing"
    finally:
        gateway.stop()


def test_an_outage_is_not_over_because_the_gateway_was_restarted(
    tmp_path: Path, hook: Receiver
) -> None:
    """How long a bridge has not got through is counted anew then; the default rule knows."""
    alerts = {"channels": [{"name": "hook", "url": hook.url, "allow_private": True}]}
    gateway = cut_off(tmp_path, alerts)
    try:
        say(gateway.broker_port, "soil-4", battery=10)
        (came,) = hook.wait(1, 60)
        assert "bridge/away has not got through" in came["message"]
        gateway.stop()
        gateway.start()
        time.sleep(15)  # `clear_for` and more, and less than it takes to begin anew
        (alert,) = [each for each in gateway.api("alerts") if each["rule"] == "bridge-failing"]
        assert (alert["state"], alert["count"], len(hook.received)) == ("firing", 1, 1)
    finally:
        gateway.stop()


def test_the_address_of_a_channel_is_shown_nowhere(
    tmp_path: Path, hook: Receiver, running: Any
) -> None:
    secret = "T0kenThatNobodySees4711"
    hook.refuse()
    url = hook.url.replace("json://", f"json://user:{secret}@")
    gateway = running(None, channels=[{"name": "own", "url": url, "allow_private": True}])
    say(gateway.broker_port, "soil-4", battery=10)
    gateway.wait(lambda: gateway.api("status")["alerts"]["channels"][0]["state"] == "failing")
    gateway.wait(lambda: "channel own" in gateway.get("/api/v1/health").text)
    (reason,) = (each for each in gateway.api("health")["reasons"] if "channel own" in each["text"])
    assert reason["metric"] == "channel", reason
    shown = [gateway.get("/api/v1/status").text, gateway.command("alerts", "channels").stdout]
    shown.append(gateway.get("/api/v1/health").text)
    shown += [gateway.command("alerts", "test", "own").stderr, gateway.log.read_text()]
    assert "503" in shown[1]
    assert all(secret not in text for text in shown)


def test_rules_are_changed_while_it_runs(hook: Receiver, running: Any) -> None:
    gateway = running(hook)
    say(gateway.broker_port, "soil-4", battery=10)
    hook.wait(1)
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("below: 20", "below: 5"))
    assert gateway.command("reload").returncode == 0
    say(gateway.broker_port, "soil-4", battery=10)
    assert hook.wait(2)[1]["type"] == "success"
    assert gateway.api("alerts") == []
