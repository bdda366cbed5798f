"""`python -m gateway` with gpiozero's mock pins, and a socket at $PINS_SOCKET that drives them: for
tests that kill a gateway which counts. What pins are set to is appended to $PINS_LOG.

Requests and answers are lines of JSON: {"do": "pulse", "pin": 5, "count": 10, "every": 0.001},
"low", "high", "state"; {"do": "execute", "device": …, "name": …, "args": {…}}.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gpiozero.pins import mock

from devices import gpio
from gateway.cli import main
from gateway.core.contracts import Command

_devices: dict[str, gpio.GpioDevice] = {}
_factories: list[mock.MockFactory] = []
_log = Path(os.environ["PINS_LOG"])


class Pin(mock.MockPWMPin):  # type: ignore[misc]
    def _change_state(self, value: Any) -> bool:
        if changed := super()._change_state(value):
            with _log.open("a") as file:
                file.write(f"{self.info.name} {self._function} {float(value):g}\n")
        return bool(changed)


class Factory(mock.MockFactory):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pin_class=Pin)
        _factories.append(self)


class Known(gpio.GpioDevice):
    """Remembers the loop it works on."""

    loop: asyncio.AbstractEventLoop

    async def listen(self) -> Any:
        self.loop = asyncio.get_running_loop()
        _devices[self.name] = self
        async for burst in super().listen():
            yield burst


def answer(do: str, **asked: Any) -> Any:
    if do == "execute":
        device = _devices[asked["device"]]
        command = Command(asked["name"], asked["args"])
        reply = asyncio.run_coroutine_threadsafe(device.execute(command), device.loop)  # type: ignore[attr-defined]
        return [reply.result(30).status, reply.result().error]
    if do == "crash":  # what nobody catches, on the loop
        loop = next(iter(_devices.values())).loop  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(_fall, loop)
        return None
    pin = _factories[0].pin(asked["pin"])
    if do == "pulse":
        for _ in range(asked["count"]):
            pin.drive_low()
            pin.drive_high()
            time.sleep(asked["every"])
    elif do != "state":
        pin.drive_low() if do == "low" else pin.drive_high()
    return float(pin.state)


def _fall(loop: asyncio.AbstractEventLoop) -> None:
    raise SystemExit(70)


def serve(path: str) -> None:
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as lines:
                for line in lines:
                    lines.write(json.dumps(answer(**json.loads(line))) + "\n")
                    lines.flush()


if __name__ == "__main__":
    mock.MockFactory = Factory
    gpio.GpioDevice = Known  # type: ignore[misc]
    if sys.argv[1:2] == ["run"]:
        threading.Thread(target=serve, args=(os.environ["PINS_SOCKET"],), daemon=True).start()
    sys.exit(main())
