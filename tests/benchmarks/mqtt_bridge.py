"""What the MQTT bridge costs a message, beside paho's own `publish`: CPU of this process, with a
real broker, in one run.

python -m tests.benchmarks.mqtt_bridge [--messages 20000]
"""

import argparse
import asyncio
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import paho.mqtt.client as paho

from bridges.mqtt import MqttBridgeSettings
from gateway.core.contracts import Batch, Context, Endpoint, Reading
from tests.support.mosquitto import mosquitto

_BATCH = 500


def readings(count: int) -> list[Reading]:
    """Three values each."""
    now = time.time_ns() // 10**6 * 10**6
    return [
        Reading(f"d{n % 10}", now + n * 10**6, {"seq": float(n), "t": 21.5, "h": 40.25})
        for n in range(count)
    ]


def cpu(work: Callable[[], object], count: int) -> float:
    """CPU a message (us)."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / count * 1e6


def with_bridge(port: int, count: int, **more: object) -> float:
    """Ours: returns once all are acknowledged."""
    settings = MqttBridgeSettings.model_validate({"url": f"mqtt://127.0.0.1:{port}", **more})
    context = Context("gw", "berrygate", Path(), Endpoint(), lambda event: None)
    sink, found = settings.build("sink", context), readings(_BATCH)

    async def work() -> None:
        async with sink.connect() as conn:
            for _ in range(0, count, _BATCH):
                await sink.send(conn, Batch(1, _BATCH + 1, found))

    return cpu(lambda: asyncio.run(work()), count)


def with_paho(port: int, count: int) -> float:
    """`publish` for each message, its network thread, and a wait for all acknowledgements."""
    found, left, done = readings(_BATCH), count, threading.Event()

    def published(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "paho", protocol=paho.MQTTv5)
    client.max_inflight_messages_set(100)
    client.on_publish = published
    client.connect("127.0.0.1", port)
    client.loop_start()

    def work() -> None:
        for n in range(count):
            reading = found[n % _BATCH]
            message = {"time": reading.time // 10**6, **reading.values}
            client.publish(f"devices/{reading.device}/t", msgspec.json.encode(message), 1)
            if n % 10_000 == 9_999:  # its queue takes no more than 65,535
                while client._out_messages:
                    time.sleep(0.001)
        done.wait(60)

    spent = cpu(work, count)
    client.disconnect()
    client.loop_stop()
    return spent


def main(count: int) -> dict[str, float]:
    """CPU a message (us), by who sends."""
    with tempfile.TemporaryDirectory() as name, mosquitto(Path(name)) as broker:
        return {
            "bridge": with_bridge(broker.port, count),
            "bridge, window 1000": with_bridge(broker.port, count, window=1_000),
            "bridge, 3.1.1": with_bridge(broker.port, count, protocol="3.1.1"),
            "paho": with_paho(broker.port, count),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    found = main(parser.parse_args().messages)
    for who, spent in found.items():
        print(f"{who:20} {spent:6.2f} us/message, paho / this {found['paho'] / spent:5.1f}")
