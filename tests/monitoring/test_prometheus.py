"""Whoever watches with Prometheus and Grafana: metrics, rules and dashboard with the real programs,
against a running gateway."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.gateway import Gateway, gateway
from tests.support.influx import binary, influx_1
from tests.support.mosquitto import mosquitto
from tests.support.ports import end, free_port, wait_for_port
from tests.support.publisher import Publisher
from tests.support.receiver import receiver

PROJECT = Path(__file__).parents[2]
DASHBOARD = PROJECT / "config" / "grafana" / "berrygate.json"
RULES = PROJECT / "config" / "prometheus" / "berrygate.rules.yaml"
_NAME = re.compile(r"\b(?:berrygate|process)_[a-z_]+\b")
# What there is nothing of while all is well.
_EMPTY = ("berrygate_limiting", "berrygate_bridge_failed_total", "berrygate_loop_held")


def promtool(*args: str, text: str | None = None) -> str:
    """What it says. Raises AssertionError where something is wrong."""
    done = subprocess.run(
        [binary("promtool"), *args], input=text, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[tuple[str, str]]:
    """(title, expression) of each target, with the variable filled in."""
    return [
        (panel["title"], target["expr"].replace("$instance", ".*"))
        for panel in panels()
        for target in panel.get("targets", ())
    ]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway at work, through which something has gone, and which has told of an alert."""
    directory = tmp_path_factory.mktemp("house")
    with (
        influx_1(directory / "influx") as influx,
        mosquitto(directory / "broker") as broker,
        receiver(directory / "hook") as hook,
    ):
        bridge = {
            "type": "influxdb", "name": "home", "version": "1", "url": influx.url,
            "database": "test", "batch": {"wait": "100ms"},
        }  # fmt: skip
        with gateway(
            directory / "gateway",
            broker={"embedded": False, "port": broker.port},
            devices=[{"type": "mqtt"}],
            bridges=[bridge],
            journal={"gather": "100ms"},
            alerts={
                "rules": [{"name": "seen", "device": "*", "metric": "seq", "above": 998}],
                "channels": [{"name": "hook", "url": hook.url, "allow_private": True}],
            },
        ) as found:
            found.wait(lambda: found.api("status")["broker"]["connected"])
            publisher = Publisher(broker.port)
            publisher.run(0, 1_000, 500)
            publisher.close()
            found.wait(lambda: found.api("bridges")[0]["delivered"] == 1_000)
            hook.wait(1)
            yield found


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """Debian's Prometheus with our rules, which looks at `target` each second; its URL."""
    port = free_port()
    directory.mkdir()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "berrygate", "static_configs": [{"targets": [target]}]}],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [binary("prometheus"), f"--config.file={directory}/prometheus.yml",
         f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        end(process)


def test_metrics_are_well_formed(house: Gateway) -> None:
    text = house.get("/metrics").text
    assert promtool("check", "metrics", text=text) == ""
    with pytest.raises(AssertionError):
        promtool("check", "metrics", text=text.replace("_received_total", "_received"))


def test_alerts_are_counted(house: Gateway) -> None:
    def value(name: str) -> str:
        lines = house.get("/metrics").text.splitlines()
        return next(line.split()[-1] for line in lines if line.startswith(f"berrygate_{name} "))

    seen = 'alerts{rule="seen",severity="warning",state="%s"}'
    assert value(seen % "firing") == "1.0"
    assert value(seen % "silenced") == "0.0"
    assert value('alerts_fired_total{rule="seen"}') == "1.0"
    house.wait(lambda: value('alert_notifications_sent_total{channel="hook"}') == "1.0")
    assert value('alert_notifications_failed_total{channel="hook"}') == "0.0"
    assert value('alert_notifications_waiting{channel="hook"}') == "0.0"
    silence = {"rule": "seen", "duration": "1h"}
    made = httpx.post(f"{house.url}/api/v1/silences", json=silence).json()
    assert (value(seen % "firing"), value(seen % "silenced")) == ("0.0", "1.0")
    httpx.delete(f"{house.url}/api/v1/silences/{made['id']}")
    assert value(seen % "firing") == "1.0"


def test_rules_are_right_and_come_when_they_should() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(Path(__file__).parent / "rules.test.yaml"))


def test_each_rule_is_tried() -> None:
    tried = (Path(__file__).parent / "rules.test.yaml").read_text()
    names = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"]
             for rule in group["rules"]]  # fmt: skip
    assert len(names) == len(set(names)) >= 10
    assert [name for name in names if name not in tried] == []


def test_the_dashboard_is_whole() -> None:
    whole = json.loads(DASHBOARD.read_text())
    assert whole["schemaVersion"] >= 30
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (place["x"] + dx, place["y"] + dy)
            for dx in range(place["w"])
            for dy in range(place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
    names = {variable["name"] for variable in whole["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) <= names


def test_dashboard_and_rules_name_what_there_is(house: Gateway) -> None:
    text = house.get("/metrics").text
    kinds = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    for name in set(_NAME.findall(" ".join(expr for _, expr in expressions()) + RULES.read_text())):
        if kinds.get(re.sub(r"_(bucket|sum|count)$", "", name)) == "histogram":
            continue
        assert name in kinds, f"there is no metric {name}"


def test_each_panel_shows_something(house: Gateway, tmp_path: Path) -> None:
    with prometheus(tmp_path / "prometheus", house.url.removeprefix("http://")) as url:

        def ask(expr: str) -> list[Any]:
            answer = httpx.get(f"{url}/query", params={"query": expr}, timeout=10).json()
            assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
            found: list[Any] = answer["data"]["result"]
            return found

        house.wait(lambda: bool(ask("rate(berrygate_stage_records_total[1m])")), 30)
        empty = [
            f"{title}: {expr}"
            for title, expr in expressions()
            if not ask(expr) and not any(name in expr for name in _EMPTY)
        ]
        assert empty == []
        assert ask('ALERTS{alertstate="firing"}') == []
        down = ask("up")
        assert [each["value"][1] for each in down] == ["1"]
