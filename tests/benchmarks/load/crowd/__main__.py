"""A crowd at work: `python -m tests.benchmarks.load.crowd MQTT_PORT COAP_PORT --mqtt N --coap N`.

Does what the lines on its standard input say, and answers each with a line of JSON when that is
done: `connect`; `go`, from when on each MQTT device sends once a second and each CoAP device every
five seconds; `cut N`, which cuts the connections of so many MQTT devices (the answer: which); and
`stop`, which waits for what is not answered yet (the answer: what was acknowledged to whom).
"""

import argparse
import json
import os
import resource
import select
import time
from typing import Any

from tests.benchmarks.load.crowd.coap import CoapDevices
from tests.benchmarks.load.crowd.mqtt import MqttDevices

_PAUSE = 0.004  # between two looks: to wake up for each answer would cost more than answers do (s)
_PATIENCE = 120.0  # for what must come (s)
_COAP_EVERY = 5.0
_SPARE = 100  # files besides the sockets


class Crowd:
    """See the module. going: since when they send (monotonic), or 0."""

    def __init__(self, mqtt_port: int, coap_port: int, mqtt: int, coap: int, births: bool):
        self.poll = select.epoll()
        self.mqtt = MqttDevices(mqtt_port, mqtt, self.poll, births=births)
        self.coap = CoapDevices(coap_port, coap, self.poll)
        self.going = 0.0
        self._rates = (mqtt, coap / _COAP_EVERY)
        self._turns = [0, 0]

    def look(self) -> None:
        """Send what is due, and take what has come."""
        if self.going:
            passed = time.monotonic() - self.going
            for place, devices in enumerate((self.mqtt, self.coap)):
                while self._turns[place] < passed * self._rates[place]:
                    devices.send(self._turns[place])
                    self._turns[place] += 1
        else:
            self.mqtt.ping()
        self.coap.repeat()
        time.sleep(_PAUSE)
        for descriptor, _ in self.poll.poll(0, 4_096):
            (self.mqtt if self.mqtt.owns(descriptor) else self.coap).read(descriptor)

    def do(self, line: str) -> Any:
        """What a line says; its answer."""
        match line.split():
            case ["connect"]:
                began = time.monotonic()
                self._until_ready()
                return {"seconds": round(time.monotonic() - began, 1)}
            case ["go"]:
                self.going = time.monotonic()
                return {}
            case ["cut", count]:
                return self.mqtt.cut(int(count))
            case ["stop"]:
                late = self._late()
                self.going = 0.0
                self._until_ready()
                return self._report() | {"late": late}
        raise ValueError(line)

    def _until_ready(self) -> None:
        until = time.monotonic() + _PATIENCE
        while not self.mqtt.ready or self.coap.waiting:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self.mqtt.waiting)} MQTT messages are not acknowledged")
            self.mqtt.open()
            self.look()

    def _late(self) -> float:
        """How far we are behind what was to be sent (s)."""
        return round(time.monotonic() - self.going - self._turns[0] / self._rates[0], 3)

    def _report(self) -> dict[str, Any]:
        return {
            "mqtt": self.mqtt.acknowledged,
            "coap": self.coap.stored,
            "answers": self.coap.answers,
            "repeated": self.coap.repeated,
            "unanswered": self.coap.unanswered,
        }


def main() -> None:
    """Work until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mqtt_port", type=int)
    parser.add_argument("coap_port", type=int)
    parser.add_argument("--mqtt", type=int, required=True)
    parser.add_argument("--coap", type=int, required=True)
    parser.add_argument("--births", action="store_true", help="each says that it is there")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = args.mqtt + args.coap + _SPARE
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))
    crowd = Crowd(args.mqtt_port, args.coap_port, args.mqtt, args.coap, args.births)
    told = select.poll()
    told.register(0, select.POLLIN)
    while True:
        if told.poll(0):
            line = os.read(0, 1_000).decode()
            if not line:
                break
            print(json.dumps(crowd.do(line)), flush=True)
        crowd.look()
    crowd.mqtt.close()


if __name__ == "__main__":
    main()
