"""Receiving and acknowledging QoS 1 with our MQTT device, and nothing else."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from devices.mqtt import MqttSettings
from gateway.core.contracts import Context, Endpoint, Stored


async def main(port: int) -> None:
    """Acknowledge each burst as it comes."""
    endpoint = Endpoint(port=port, protocol="3.1.1")
    with TemporaryDirectory() as directory:
        context = Context("bench", "berrygate", Path(directory), endpoint, lambda event: None)
        device = MqttSettings(client_id="our-receiver").build("mqtt", context)
        async for burst in device.listen():
            burst.done(Stored())


asyncio.run(main(int(sys.argv[1])))
