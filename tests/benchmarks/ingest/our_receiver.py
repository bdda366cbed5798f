"""Receiving and acknowledging QoS 1 with our MQTT device, and nothing else."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from devices.mqtt import MqttSettings
from gateway.core.contracts import Context, Endpoint, Stored

_GATHER = 0.12  # nothing waits for a commit here: of this, 24 ms are let gather (s)


async def main(port: int) -> None:
    """Acknowledge each burst as it comes."""
    endpoint = Endpoint(port=port, protocol="3.1.1")
    with TemporaryDirectory() as directory:
        context = Context(
            "bench", "berrygate", Path(directory), endpoint, lambda event: None,
            gather=lambda: _GATHER,
        )  # fmt: skip
        device = MqttSettings(client_id="our-receiver").build("mqtt", context)
        async for burst in device.listen():
            burst.done(Stored())


asyncio.run(main(int(sys.argv[1])))
