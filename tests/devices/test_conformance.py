"""Each device by the suite that authors of drivers have."""

import asyncio
import contextlib
import itertools
import socket
from pathlib import Path

import aiocoap
import pytest

from devices.coap import CoapSettings
from devices.gpio import GpioSettings
from devices.i2c import I2cSettings
from devices.modbus import ModbusSettings
from devices.mqtt import MqttSettings
from devices.onewire import OneWireDevice, OneWireSettings
from devices.serial import SerialSettings
from devices.system import SystemSettings
from gateway.core.contracts import Context, Endpoint
from gateway.testing import check_device
from tests.support.cable import Cable
from tests.support.i2c_at_work import simulated  # noqa: F401 - a fixture
from tests.support.i2c_chips import Sht3x
from tests.support.i2c_wires import Wires, plug
from tests.support.modbus import Apart
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.publisher import Publisher
from tests.support.thermometers import Thermometers

EXAMPLES = Path(__file__).parents[2] / "config/examples"


class Acknowledgements(Proxy):
    """Counts what a client acknowledges to its broker (PUBACK)."""

    def __init__(self, target: int) -> None:
        self.count = 0
        super().__init__(target)

    def _forward(self, source: socket.socket, target: socket.socket, limited: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not limited and data[0] == 0x40:  # this client writes nothing else with them
                    self.count += 1
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


async def test_system() -> None:
    await check_device(
        SystemSettings, {"interval": "100ms"}, example=EXAMPLES / "several-sources.yaml"
    )


async def test_mqtt(tmp_path: Path) -> None:
    numbers = itertools.count()
    with mosquitto(tmp_path) as broker:
        between = Acknowledgements(broker.port)
        try:
            await check_device(
                MqttSettings,
                {"canary": "0s"},
                say=lambda: Publisher(broker.port).run(next(numbers), 1),
                leave=broker.stop,
                come=broker.start,
                answered=lambda: between.count,
                broker=Endpoint(port=between.port),
                example=EXAMPLES / "several-sources.yaml",
            )
        finally:
            between.stop()


async def test_serial(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "scale")
    cable.plug()
    try:
        await check_device(
            SerialSettings,
            {"port": str(cable.link)},
            say=lambda: cable.say(b'{"weight": 81.5}\n'),
            leave=cable.unplug,
            come=cable.plug,
            example=EXAMPLES / "serial.yaml",
        )
    finally:
        cable.unplug()


async def test_coap() -> None:
    port, stored = free_port(), []

    async def say() -> None:
        context = await aiocoap.Context.create_client_context()
        try:
            uri = f"coap://127.0.0.1:{port}/telemetry/soil"
            request = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=b'{"moisture": 31}')
            answer = await asyncio.wait_for(context.request(request).response, 20)
            if answer.code.is_successful():
                stored.append(answer)
        finally:
            await context.shutdown()

    await check_device(
        CoapSettings,
        {"port": port},
        say=say,
        answered=lambda: len(stored),
        example=EXAMPLES / "coap.yaml",
    )


async def test_modbus() -> None:
    port, registers = free_port(), [{"name": "x", "address": 0}]
    server = Apart(port).start()
    try:
        await check_device(
            ModbusSettings,
            {
                "host": "127.0.0.1",
                "port": port,
                "timeout": "500ms",
                "units": [{"device": "meter", "map": {"registers": registers, "every": "100ms"}}],
            },
            leave=server.stop,
            come=server.start,
            example=EXAMPLES / "modbus.yaml",
        )
    finally:
        server.stop()


async def test_gpio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    pins = {"door": {"kind": "contact", "pin": 17}}
    await check_device(
        GpioSettings, {"pins": pins, "interval": "100ms"}, example=EXAMPLES / "gpio.yaml"
    )


async def test_i2c(wires: Wires, tmp_path: Path) -> None:
    path = wires.bus(tmp_path / "i2c-1", {0x44: Sht3x()})
    await check_device(
        I2cSettings,
        {"bus": str(path), "interval": "100ms", "chips": [{"kind": "sht3x"}]},
        leave=path.unlink,
        come=lambda: plug(path, 0x44),
        example=EXAMPLES / "i2c.yaml",
    )


async def test_onewire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Thermometers(tmp_path).switch_on()
    there.plug("28-0316a2790bff", 55.5)

    def come() -> None:
        there.switch_on().plug("28-0316a2790bff", 55.5)

    def build(settings: OneWireSettings, name: str, context: Context) -> OneWireDevice:
        return OneWireDevice(name, settings, context, tmp_path)

    monkeypatch.setattr(OneWireSettings, "build", build)
    await check_device(
        OneWireSettings,
        {"interval": "100ms"},
        leave=there.switch_off,
        come=come,
        example=EXAMPLES / "onewire.yaml",
    )
