"""Credentials of devices on the embedded broker of a whole gateway, with clients that stay."""

import csv
import io
import time
from pathlib import Path

import paho.mqtt.client as paho

from tests.support.gateway import gateway
from tests.support.ports import free_port

SOON = 5.0  # within which a revoked session ends, as promised (s)


class Device:
    """A client that says when it was let in, and when it was thrown out."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, user, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        self.client.username_pw_set(user, password)
        self.refused = ""
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self._told(reason)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        deadline = time.monotonic() + 10
        while not (self.client.is_connected() or self.refused) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _told(self, reason: paho.ReasonCode) -> None:
        self.refused = str(reason) if reason.is_failure else ""

    @property
    def is_in(self) -> bool:
        return self.client.is_connected()

    def is_out_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_in and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.is_in

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_issued_rotated_and_revoked(tmp_path: Path) -> None:
    with gateway(tmp_path, broker={"port": free_port()}) as house:
        port = free_port()
        opened = house.command(
            "broker", "open", "--no-tls", "--host", "127.0.0.1", "--port", str(port)
        )
        assert opened.returncode == 0, opened.stderr
        issued = house.command("devices", "credentials", "issue", "soil-1", "soil-2", "pump")
        assert issued.returncode == 0, issued.stderr
        passwords = {
            row["id"]: row["password"] for row in csv.DictReader(io.StringIO(issued.stdout))
        }
        devices = {name: Device(port, name, passwords[name]) for name in passwords}
        assert all(device.is_in for device in devices.values())
        again = house.command("devices", "credentials", "issue", "new", "pump")
        assert again.returncode != 0
        assert "new" not in house.command("devices", "credentials").stdout

        rotated = house.command("devices", "credentials", "rotate", "soil-1")
        assert devices["soil-1"].is_out_within(SOON)
        other = next(csv.DictReader(io.StringIO(rotated.stdout)))["password"]
        assert Device(port, "soil-1", passwords["soil-1"]).refused
        renewed = Device(port, "soil-1", other)
        assert renewed.is_in

        assert house.command("devices", "credentials", "revoke", "soil-1").returncode == 2
        assert house.command("devices", "credentials", "revoke", "soil-1", "--yes").returncode == 0
        assert renewed.is_out_within(SOON)
        assert Device(port, "soil-1", other).refused
        assert devices["soil-2"].is_in
        assert devices["pump"].is_in
        assert house.command("devices", "credentials").stdout.split() == [
            "device-1", "pump", "soil-2",
        ]  # fmt: skip
        for device in devices.values():
            device.close()
