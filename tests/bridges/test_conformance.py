"""Each bridge by the suite that authors of drivers have."""

import subprocess
from pathlib import Path

from bridges.influxdb import InfluxdbSettings
from bridges.mqtt import MqttBridgeSettings
from gateway.testing import check_bridge
from tests.support.influx import influx_1
from tests.support.influx2 import BUCKET, ORG, TOKEN, influx_2
from tests.support.mosquitto import mosquitto
from tests.support.subscriber import subscriber

EXAMPLES = Path(__file__).parents[2] / "config/examples"


async def test_influxdb_1(tmp_path: Path) -> None:
    with influx_1(tmp_path) as server:

        def took() -> int:
            return sum(len(server.values(f"device-{n}", "temperature")) for n in range(4))

        await check_bridge(
            InfluxdbSettings,
            {"url": server.url, "version": "1", "database": "test", "timeout": "2s"},
            took=took,
            leave=server.stop,
            come=server.start,
            refused={"temperature": "warm"},
            denied={"database": "nowhere"},
            example=EXAMPLES / "influxdb-1.yaml",
        )


async def test_influxdb_2() -> None:
    with influx_2() as server:
        await check_bridge(
            InfluxdbSettings,
            {"url": server.url, "token": TOKEN, "org": ORG, "bucket": BUCKET},
            took=lambda: sum("temperature" in fields for fields in [*server.points.values()]),
            refused={"temperature": "warm"},
            denied={"token": "wr0ng-t0ken"},
            busy=lambda: setattr(server, "mode", "overloaded"),
            example=EXAMPLES / "influxdb-2.yaml",
        )


async def test_mqtt(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker", f"password_file {passwords(tmp_path)}") as broker,
        subscriber(broker.port) as found,
    ):
        await check_bridge(
            MqttBridgeSettings,
            {
                "host": "127.0.0.1", "port": broker.port, "timeout": "2s", "max_packet": "4kB",
                "username": "user", "password": "right-password",
            },
            took=lambda: len(found.messages),
            leave=broker.stop,
            come=broker.start,
            refused={"text": "x" * 5_000},
            denied={"password": "wr0ng-password"},
            example=EXAMPLES / "mqtt-bridge.yaml",
        )  # fmt: skip


def passwords(directory: Path) -> Path:
    """A file with one user for mosquitto."""
    file = directory / "passwords"
    file.write_text("user:right-password\n")
    subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True)
    return file
