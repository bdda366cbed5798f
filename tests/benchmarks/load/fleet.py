"""10,000 MQTT and 2,000 CoAP devices at one gateway with its embedded broker, each with a
connection or a socket of its own; some of them vanish in the end."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import psutil

from tests.benchmarks.ingest.measure import cpu_seconds, program
from tests.benchmarks.load.cases import Bench, connected
from tests.support.gateway import Gateway
from tests.support.ports import end, free_port, wait_for_port
from tests.support.subscriber import Subscriber

HERE = Path(__file__).parent
_GONE = 100  # devices whose connections are cut
_SETTLE = 60.0  # how long presence may take to be told of all (s)
_HOLD = 5.0  # how long it is looked on after that (s)
_SAMPLE = 50  # devices of each kind whose every value is looked at


class Crowd:
    """Devices in a process of their own; see tests.benchmarks.load.crowd."""

    def __init__(
        self, mqtt_port: int, coap_port: int, mqtt: int, coap: int, *, births: bool
    ) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.load.crowd"]
        options = [str(mqtt_port), str(coap_port), "--mqtt", str(mqtt), "--coap", str(coap)]
        options += ["--births"] if births else []
        self.process = subprocess.Popen(
            [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def tell(self, line: str) -> Any:
        """Have it do something; its answer. Raises RuntimeError if it ends over it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the devices ended over {line!r}")
        return json.loads(answer)


class Presences(Subscriber):
    """What everybody is told of which devices are there. now: by device; offline: those that were
    told to be anything else than online at any time."""

    def __init__(self, port: int) -> None:
        self.now: dict[str, str] = {}
        self.offline: set[str] = set()
        super().__init__(port, "berrygate/test/status/+/presence", "presences")

    def _came(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        device, state = message.topic.split("/")[3], json.loads(message.payload)["state"]
        if device == "gateway":
            return
        self.now[device] = state
        if state != "online":
            self.offline.add(device)


@contextmanager
def house(directory: Path, devices: int) -> Iterator[tuple[Bench, int]]:
    """A gateway with its own broker, and a sink; and the port it has for CoAP."""
    port, broker, coap = free_port(), free_port(), free_port()
    with program(str(HERE / "sink.py"), str(port)) as sink:
        wait_for_port(port, sink)
        url = f"http://127.0.0.1:{port}"
        made = Gateway(
            directory / "gateway",
            broker={"embedded": True, "port": broker},
            devices=[{"type": "mqtt", "discover": True}, {"type": "coap", "port": coap}],
            bridges=[{"type": "influxdb", "url": url, "token": "t", "bucket": "b"}],
            limits={"devices": devices},
        ).start()
        try:
            made.wait(lambda: connected(made))
            time.sleep(1.0)
            yield Bench(made, broker, url), coap
        finally:
            made.stop()


def fleet(
    directory: Path, mqtt: int, coap: int, seconds: float, *, births: bool = False
) -> dict[str, float]:
    """A message a second from each MQTT device and one in five from each CoAP device: what is
    lost, stored twice, or told wrongly of who is there, and what it takes. births: each MQTT device
    also says that it is there, which is one more metric, and one more set of metrics, of each."""
    with (
        house(directory, mqtt + coap) as (here, coap_port),
        Presences(here.broker_port).running() as told,
    ):
        assert isinstance(told, Presences)
        crowd = Crowd(here.broker_port, coap_port, mqtt, coap, births=births)
        try:
            found = _at_work(here, crowd, seconds)
            found |= _presence(told, crowd, mqtt + coap)
            return found | _stored(here, crowd.tell("stop"))
        finally:
            end(crowd.process)


def _at_work(here: Bench, crowd: Crowd, seconds: float) -> dict[str, float]:
    """What it takes."""
    broker = psutil.Process(here.house.pid).children()[0].pid
    found = {"connecting s": crowd.tell("connect")["seconds"]}
    pids = {"": here.house.pid, "broker ": broker, "devices ": crowd.process.pid}
    before = {pid: cpu_seconds(pid) for pid in pids.values()}
    began = time.monotonic()
    crowd.tell("go")
    time.sleep(seconds)
    passed = time.monotonic() - began
    for name, pid in pids.items():
        spent = cpu_seconds(pid) - before[pid]
        found[f"{name}CPU of a core %"] = round(spent / passed * 100, 1)
    return found | {"memory MB": round(here.resident(), 1)}


def _presence(told: Presences, crowd: Crowd, count: int) -> dict[str, float]:
    """Whether everybody is told of who is there, and who is gone."""
    early = set(told.offline)
    online = sum(state == "online" for state in told.now.values())
    gone, began = set(crowd.tell(f"cut {_GONE}")), time.monotonic()
    while not gone <= told.offline and time.monotonic() - began < _SETTLE:
        time.sleep(0.05)
    took = time.monotonic() - began
    time.sleep(_HOLD)
    wrong = {
        device for device, state in told.now.items() if (state != "online") != (device in gone)
    }
    return {
        "never told of": count - online,
        "told offline and there": len(early | (told.offline - gone)),
        "told online and gone": len(gone & wrong),
        "offline after s": round(took, 1),
    }


def _stored(here: Bench, sent: dict[str, Any]) -> dict[str, float]:
    """What became of all that was acknowledged, or answered 2.04."""
    acknowledged = {f"m{n}": count for n, count in enumerate(sent["mqtt"])}
    acknowledged |= {f"c{n}": count for n, count in enumerate(sent["coap"])}
    count = sum(acknowledged.values())
    here.drain(count, "numbered")
    here.settle()
    stored = dict.fromkeys(acknowledged, 0) | {
        each["device"]: each["count"]
        for each in here.house.api("series")
        if each["metric"] == "seq"
    }
    apart = {device: stored[device] - wanted for device, wanted in acknowledged.items()}
    return {
        "MQTT messages": sum(sent["mqtt"]),
        "CoAP messages": sum(sent["coap"]),
        "CoAP sent again": sent["repeated"],
        "CoAP not answered": sent["unanswered"],
        **{f"CoAP {code}": count for code, count in sent["answers"].items() if code != "2.04"},
        "lost in history": -sum(each for each in apart.values() if each < 0),
        "twice in history": sum(each for each in apart.values() if each > 0),
        "wrong values": _wrong(here, acknowledged),
        "lost at the sink": count - here.delivered()["numbered"],
        "devices behind s": sent["late"],
        "devices known": len(here.house.api("devices")),
        "difference": sum(map(abs, here.house.differences().values())),
        "with the API MB": round(here.resident(), 1),
    }


def _wrong(here: Bench, acknowledged: dict[str, int]) -> int:
    """Of some devices: those of which history has not each number once; what is sent again by CoAP
    may come later than the next one, by MQTT it may not."""
    wrong = 0
    for kind in ("m", "c"):
        those = [device for device in acknowledged if device.startswith(kind)]
        for device in those[:: max(len(those) // _SAMPLE, 1)]:
            found = here.house.values(device, "seq")
            wanted = list(range(acknowledged[device]))
            wrong += found != wanted if kind == "m" else len(set(found)) != len(wanted)
    return wrong
