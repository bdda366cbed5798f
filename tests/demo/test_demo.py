"""`berrygate demo`, for real: who appears, who flaps, who misbehaves, and what is left of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from gateway.cli.main import main
from gateway.demo import parts
from gateway.demo.mqtt import LATE
from gateway.demo.serial import PLUGGED, PULLED
from gateway.demo.site import Day, Place
from tests.support.ports import end
from tests.support.subscriber import subscriber


class Demo:
    """One that runs. scene: what it says there is to look at."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, "it ended"
            text += line
        self.scene: dict[str, Any] = json.loads(text)
        self.began = time.monotonic()

    def api(self, path: str) -> Any:
        """What the gateway answers."""
        return httpx.get(f"{self.scene['dashboard']}/api/v1/{path}", timeout=30).json()

    def wait(self, condition: Callable[[], bool], timeout: float = 90) -> None:
        """Return once it holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.api("status")
            assert self.process.poll() is None
            time.sleep(0.1)


@contextmanager
def demo(directory: Path, *arguments: str) -> Iterator[Demo]:
    directory.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--json", *arguments],
        env=os.environ | {"TMPDIR": str(directory)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Demo(process)
    finally:
        end(process, 30)  # type: ignore[arg-type]


def test_everybody_is_there_and_nothing_is_left(tmp_path: Path) -> None:
    with demo(tmp_path / "tmp") as running:
        assert running.scene["missing"] == []
        assert len(running.scene["devices"]) >= 12
        port = int(running.scene["broker"].rpartition(":")[2])
        with subscriber(port, "berrygate/nursery/status/scale/presence") as presence:
            look(running)

            def states() -> list[str]:
                return [message.json["state"] for message in presence.messages]

            # There, away while the plug is out, and there again.
            running.wait(
                lambda: states()[-1:] == ["online"] and "offline" in states(),
                PLUGGED + 2 * PULLED + 60,
            )
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) >= 2  # the gateway and its broker
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
    _, alive = psutil.wait_procs(children, 10)
    assert alive == []
    assert list((tmp_path / "tmp").iterdir()) == []


def look(running: Demo) -> None:
    """Everybody is known, with what they measure; what is wrong is counted."""
    running.wait(lambda: {each["id"] for each in running.api("devices")} >= {"pi", "freezer"})
    if time.monotonic() - running.began < LATE / 3:
        assert "beehive" not in {each["id"] for each in running.api("devices")}
    everybody = {"pi", *running.scene["devices"]}
    running.wait(lambda: {each["id"] for each in running.api("devices")} == everybody)
    running.wait(lambda: all(each["last"]["values"] for each in running.api("devices")))
    found = {each["id"]: each for each in running.api("devices")}
    assert {each["source"] for each in found.values()} == {
        "pi", "gadgets", "sensors", "coap", "scale", "heating", "irrigation",
    }  # fmt: skip
    assert running.api("devices/greenhouse-north")["units"]["humidity"] == "%RH"
    assert running.api("devices/weather")["units"]["pressure"] == "hPa"
    assert found["scale"]["metrics"] == ["weight"]
    told = f"{running.scene['dashboard']}/api/v1/devices/heat-pump/commands/set"
    assert httpx.post(told, json={"args": {"setpoint": 40}}, timeout=30).json()["status"] == "ok"
    lamp = f"{running.scene['dashboard']}/api/v1/devices/irrigation/commands/lamp"
    assert httpx.post(lamp, json={"args": {"value": 0.5}}, timeout=30).json()["status"] == "ok"
    running.wait(lambda: running.api("devices/heat-pump")["last"]["values"]["setpoint"] == 40)
    running.wait(lambda: bool(running.api("devices/irrigation/commands")["commands"]))
    running.wait(
        lambda: running.api("status")["ledger"]["sources"]["gadgets"]["dead_lettered"] >= 2
    )
    ledger = running.api("status")["ledger"]["sources"]
    assert {name: entry["difference"] for name, entry in ledger.items()} == dict.fromkeys(ledger, 0)
    # Of the scale's first line a part may be lost: it was plugged in while it spoke.
    for name in ("pi", "sensors", "coap", "heating", "irrigation"):
        assert ledger[name]["dead_lettered"] == 0, name


def test_data_stays_where_it_is_wanted_and_a_kill_leaves_no_process(tmp_path: Path) -> None:
    with demo(tmp_path / "tmp", "--data-dir", str(tmp_path / "kept")) as running:
        assert running.scene["config"] == str(tmp_path / "kept/berrygate.yaml")
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        running.process.wait()
    _, alive = psutil.wait_procs(children, 30)
    assert alive == []
    assert (tmp_path / "kept/data/journal").is_dir()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_directory_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = signal.getsignal(signal.SIGPIPE)
    assert main(["demo", "--data-dir", str(tmp_path / "file/data")]) == 2
    # Else a device whose other side has gone would end all of it without a word.
    assert signal.getsignal(signal.SIGPIPE) == before


def test_parts_have_devices_of_their_own_and_hints_for_them(tmp_path: Path) -> None:
    found = parts.parts(Place(tmp_path, 1, 2, 3))
    names = [name for part in found for name in part.devices]
    assert len(set(names)) == len(names)
    for part in found:
        assert part.sources()
        assert set(part.hints) <= set(part.devices)


def test_a_day_is_like_one() -> None:
    day = Day()
    noon, night = day._begin - 13, day._begin - 1
    day._started = time.monotonic() + noon * 60
    assert (day.sun() > 0.8, day.warmth() > 0.8) == (True, True)
    day._started = time.monotonic() + night * 60
    assert (day.sun(), day.warmth() < -0.8) == (0.0, True)
