"""Receiving and acknowledging QoS 1 with paho as it is, and nothing else.

python -m gateway.bench.receiver PORT ROOT
Prints `ready` once subscribed; for each line on stdin prints how many messages have come.
"""

import sys
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

count = 0


def on_connect(client: mqtt.Client, *_: Any) -> None:
    """Subscribe."""
    client.subscribe(f"{sys.argv[2]}/+/telemetry", qos=1)


def on_message(*_: Any) -> None:
    """Count."""
    global count
    count += 1


def main() -> None:
    """Until stdin ends."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="berrygate-bench-receiver")
    client.on_connect = on_connect
    client.on_message = on_message
    client.on_subscribe = lambda *_: print("ready", flush=True)  # noqa: T201
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_start()
    for _ in sys.stdin:
        print(count, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
