"""CoAP devices are told what to do by whoever asks a gateway: over HTTP and by its command line."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiocoap import Message
from aiocoap.numbers.codes import CHANGED

from tests.devices.test_coap_client import Thermometer, server
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port


class Light(Thermometer):
    """A lamp's only resource, which says how it is and takes how it is to be. told: what came."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes] = []
        self.value = b'{"on": false}'

    async def render_put(self, request: Message) -> Message:
        self.told.append(request.payload)
        self.value = request.payload
        self.updated_state()
        return Message(code=CHANGED, payload=self.value, content_format=50)


@contextmanager
def lit(light: Light, port: int) -> Iterator[None]:
    """The lamp at work, in a thread of its own."""
    up, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with server(port, ("light", light)):
            up.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(20)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


@contextmanager
def house(directory: Path, port: int) -> Iterator[Gateway]:
    observed = {
        "url": f"coap://127.0.0.1:{port}/light",
        "device": "lamp",
        "commands": {
            "light": {"payload": '{"on": {on}}', "timeout": "2s"},
            "switch": {"method": "POST", "payload": "toggle", "format": "text"},
        },
    }
    silent = {"url": f"coap://127.0.0.1:{port}/light?of=shed", "device": "shed"}
    devices = [{"type": "coap", "serve": False, "observe": [observed, silent]}]
    with gateway(directory, broker={"port": free_port()}, devices=devices) as running:
        running.wait(lambda: running.get("/api/v1/devices/lamp").status_code == 200)
        yield running


def tell(running: Gateway, name: str, **asked: Any) -> httpx.Response:
    url = f"{running.url}/api/v1/devices/lamp/commands/{name}"
    return httpx.post(url, params={"wait": "20s"}, json=asked, timeout=30)


@pytest.mark.timeout(240)
def test_a_lamp_is_told_over_http(tmp_path: Path) -> None:
    light, port = Light(), free_port()
    with lit(light, port), house(tmp_path, port) as found:
        done = tell(found, "light", id="a1", args={"on": True})
        assert (done.status_code, done.json()["status"]) == (200, "ok"), done.text
        assert done.json()["result"] == {"on": True}
        found.wait(lambda: found.values("lamp", "on")[-1:] == [True])  # it is observed as well
        again = tell(found, "light", id="a1", args={"on": True}).json()
        assert (again["status"], again["repeated"]) == ("ok", True)
        shell = found.command("devices", "command", "lamp", "light", "on=false")
        assert shell.stdout.splitlines()[0] == "ok", shell
        assert light.told == [b'{"on": true}', b'{"on": false}']

        refused = tell(found, "switch").json()
        assert refused["status"] == "failed"
        assert "4.05" in refused["error"]
        late = tell(found, "light", args={"on": 1}, expires=int(time.time() * 1000) - 1).json()
        assert late["status"] == "expired"
        for args, why in (({}, "missing: on"), ({"on": {}}, "expected number or string or bool")):
            wrong = tell(found, "light", args=args)
            assert wrong.status_code == 422
            assert why in wrong.json()["detail"]
        assert tell(found, "fly").status_code == 422
        found.wait(lambda: found.get("/api/v1/devices/shed").status_code == 200)
        nothing = httpx.post(f"{found.url}/api/v1/devices/shed/commands/light")
        assert nothing.status_code == 409
        assert "no command of it is configured" in nothing.json()["detail"]
        known = found.api("devices/lamp/commands")["schemas"]
        assert known["light"]["required"] == ["on"]
        assert known["switch"]["required"] == []
        (source,) = (each for each in found.api("status")["sources"] if each["name"] == "coap")
        assert source["commands"] == {"lamp": ["light", "switch"]}
        assert len(light.told) == 2
        assert found.differences() == {"coap": 0}


@pytest.mark.timeout(240)
def test_a_lamp_that_was_away_is_not_told_later(tmp_path: Path) -> None:
    light, port = Light(), free_port()
    with ExitStack() as lamp:
        lamp.enter_context(lit(light, port))
        with house(tmp_path, port) as found:
            lamp.close()
            away = tell(found, "light", args={"on": True}).json()
            assert (away["status"], away["error"]) == ("failed", "Connection refused")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
                deaf.bind(("127.0.0.1", port))
                mute = tell(found, "light", args={"on": True}).json()
            why = "no answer within 2s; it may have been done"
            assert (mute["status"], mute["error"]) == ("failed", why)
            lamp.enter_context(lit(light, port))
            time.sleep(2)  # it would be sent again after 2 to 3 s
            assert light.told == []
            assert tell(found, "light", args={"on": True}).json()["status"] == "ok"
