"""The Modbus driver at real servers: over TCP, and RTU over a serial cable."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from devices.modbus import ModbusDevice, ModbusSettings
from gateway.core.contracts import (
    Actuator,
    Burst,
    Command,
    Context,
    Detailed,
    Device,
    Endpoint,
    Measured,
    Reading,
    Several,
    Stored,
    TopicMapped,
    Watched,
)
from gateway.core.events import Connected, Disconnected, Event
from gateway.io.modbus import tcp_line
from gateway.io.modbus.requests import read_request
from tests.support.modbus import NullModem, Server, Tables, rtu_server, tcp_server
from tests.support.ports import free_port

TWO = {"registers": [{"name": "x", "address": 0}, {"name": "y", "address": 1}], "every": "50ms"}


class Listener:
    """A device at work, and what came of it."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[Event] = []
        self.bursts: list[Burst] = []
        self.open = asyncio.Event()
        self.open.set()
        context = Context("gw", "berrygate", Path("/"), Endpoint(), self.events.append)
        self.device = ModbusDevice("line", ModbusSettings.model_validate(settings), context)

    async def pump(self) -> None:
        async for burst in self.device.listen():
            await self.open.wait()
            self.bursts.append(burst)
            burst.done(Stored())

    def readings(self, device: str) -> list[Reading]:
        every = [reading for burst in self.bursts for reading in burst.readings or ()]
        return [reading for reading in every if reading.device == device]

    def last(self, device: str) -> dict[str, Any]:
        found = self.readings(device)
        return found[-1].values if found else {}

    def unit(self, number: int = 0) -> dict[str, Any]:
        return dict(self.device.details()["units"][number])

    async def tell(self, name: str = "set", device: str = "", **args: Any) -> Any:
        return await self.device.execute(Command(name, args, device=device))


async def until(condition: Callable[[], bool], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(**settings: Any) -> AsyncIterator[Listener]:
    found = Listener(**settings)
    task = asyncio.create_task(found.pump())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Line:
    """A line with units, by TCP or on a serial cable. settings: how the driver gets there."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.kind = kind
        self.cable: NullModem | None = None
        self.server: Server | None = None
        if kind == "tcp":
            self._port = free_port()
            self.settings: dict[str, Any] = {"host": "127.0.0.1", "port": self._port}
        else:
            self.cable = NullModem(directory / "by-id-line")
            self.cable.plug()
            self.cable.let_go()
            self.settings = {"port": str(self.cable.link)}

    def serve(self, units: dict[int, Tables]) -> Server:
        if self.cable is None:
            self.server = tcp_server(self._port, units).start()
        else:
            self.server = rtu_server(self.cable.far, units).start()
        return self.server

    def close(self) -> None:
        if self.server is not None:
            self.server.stop()
        if self.cable is not None:
            self.cable.close()


@pytest.fixture(params=["tcp", "rtu"])
def line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    found = Line(tmp_path, request.param)
    yield found
    found.close()


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Line]:
    found = Line(tmp_path, "tcp")
    yield found
    found.close()


@pytest.fixture
def rtu(tmp_path: Path) -> Iterator[Line]:
    found = Line(tmp_path, "rtu")
    yield found
    found.close()


def unit(device: str, address: int = 1, **more: Any) -> dict[str, Any]:
    return {"device": device, "address": address, "map": TWO, **more}


# -- what it reads ---------------------------------------------------------------------------


async def test_what_it_is(line: Line) -> None:
    line.serve({1: {"holding": {0: 1, 1: 2}}})
    found_map = {**TWO, "model": "Pump 3", "registers": [
        {"name": "x", "address": 0, "unit": "m³/h"}, {"name": "y", "address": 1, "write": True},
    ]}  # fmt: skip
    async with listening(**line.settings, units=[unit("pump", map=found_map)]) as found:
        device = found.device
        contracts = (Device, Watched, Detailed, Several, TopicMapped, Measured, Actuator)
        assert [each for each in contracts if not isinstance(device, each)] == []
        await until(lambda: bool(found.bursts))
        assert device.trouble == ""
        info = device.info_of("pump")
        assert (info["source"], info["unit"], info["model"]) == ("modbus", 1, "Pump 3")
        assert device.commands("pump")["set"]["properties"] == {"y": {"type": "number"}}
        assert device.commands("nobody") == {}
        assert device.units("pump") == {"x": "m³/h"}
        assert device.details()["opened"] == 1
        assert [type(event) for event in found.events] == [Connected]
    assert device.trouble == "stopped"


async def test_every_table_and_kind(line: Line) -> None:
    line.serve(
        {
            7: {
                "holding": {0: 0xFFFF, 1: 0x0001, 2: 0x5678, 3: 0x1234, 10: 0x4869, 11: 0x2100},
                "input": {0: 0x4366, 1: 0x199A, 8: 0b101},
                "coil": {0: 1, 1: 0, 17: 1},
                "discrete": {3: 1, 4: 0},
            }
        }
    )
    registers = [
        {"name": "minus", "address": 0, "type": "int16"},
        {"name": "scaled", "address": 1, "scale": 0.5, "offset": 1},
        {"name": "swapped", "address": 2, "type": "uint32", "word_order": "little"},
        {"name": "text", "address": 10, "type": "string", "length": 2},
        {"name": "float", "table": "input", "address": 0, "type": "float32"},
        {"name": "flags", "table": "input", "address": 8, "type": "bits", "bits": {0: "a", 1: "b"}},
        {"name": "on", "table": "coil", "address": 0},
        {"name": "far", "table": "coil", "address": 17},
        {"name": "door", "table": "discrete", "address": 3},
        {"name": "gate", "table": "discrete", "address": 4},
    ]
    units = [unit("all", 7, map={"registers": registers})]
    async with listening(**line.settings, units=units) as found:
        await until(lambda: bool(found.bursts))
        assert found.last("all") == {
            "minus": -1.0, "scaled": 1.5, "swapped": 0x12345678, "text": "Hi!"[:3],
            "float": 230.1, "flags.a": True, "flags.b": False,
            "on": True, "far": True, "door": True, "gate": False,
        }  # fmt: skip
        (reading,) = found.readings("all")
        assert abs(reading.time - time.time_ns()) < 60e9


async def test_neighbours_come_in_one_request(line: Line) -> None:
    server = line.serve({1: {"holding": dict.fromkeys(range(140), 5), "input": {0: 1}}})
    registers = [{"name": f"n{n}", "address": n} for n in (0, 1, 5, 40, 41, 100, 139)]
    registers.append({"name": "i", "table": "input", "address": 0})
    units = [unit("a", map={"registers": registers, "gap": 8, "every": "50ms"})]
    async with listening(**line.settings, units=units) as found:
        await until(lambda: len(found.bursts) >= 2)
    asked = server.asked(1)
    assert asked[:5] == [(3, 0, 6), (3, 40, 2), (3, 100, 1), (3, 139, 1), (4, 0, 1)]
    assert asked[5:10] == asked[:5]


async def test_each_group_at_its_own_pace(tcp: Line) -> None:
    tcp.serve({1: {"holding": {0: 1, 1: 2}}})
    registers = [{"name": "x", "address": 0}, {"name": "y", "address": 1, "every": "500ms"}]
    units = [unit("a", map={"registers": registers, "every": "50ms"})]
    async with listening(**tcp.settings, units=units) as found:
        await until(lambda: len(found.readings("a")) > 40)
    often = sum("x" in reading.values for reading in found.readings("a"))
    seldom = sum("y" in reading.values for reading in found.readings("a"))
    assert 6 < often / seldom < 14


async def test_while_the_disk_refuses_nothing_more_is_read(
    monkeypatch: pytest.MonkeyPatch, tcp: Line
) -> None:
    monkeypatch.setattr("devices.modbus._BACKLOG", 3)
    server = tcp.serve({1: {"holding": {0: 1, 1: 2}}})
    async with listening(**tcp.settings, units=[unit("a")]) as found:
        await until(lambda: len(found.bursts) > 2)
        found.open.clear()
        await asyncio.sleep(0.5)
        asked = len(server.requests)
        await asyncio.sleep(0.5)
        assert len(server.requests) == asked
        found.open.set()
        await until(lambda: len(server.requests) > asked + 3)


# -- units that are away ---------------------------------------------------------------------


async def test_one_that_is_away_does_not_slow_the_others(line: Line) -> None:
    server = line.serve({1: {"holding": {0: 1, 1: 2}}, 2: {"holding": {0: 3, 1: 4}}})
    units = [unit("live", 1), unit("dead", 2)]
    settings = {**line.settings, "timeout": "300ms", "units": units}
    async with listening(**settings) as found:
        await until(lambda: len(found.readings("dead")) > 5)
        began = len(found.readings("live"))
        await asyncio.sleep(3)
        both = len(found.readings("live")) - began
        server.silent.add(2)
        await until(lambda: found.unit(1)["trouble"] is not None)
        assert "dead (unit 2): no answer within 300ms" in found.device.concern
        assert found.device.trouble == ""
        assert found.device.trouble_of("dead")
        assert not found.device.trouble_of("live")
        began = len(found.readings("live"))
        await asyncio.sleep(3)
        alone = len(found.readings("live")) - began
        print(f"{line.kind}: {both} readings with both, {alone} with one of them away")
        assert alone > 0.8 * both
        server.silent.clear()
        dead = len(found.readings("dead"))
        await until(lambda: len(found.readings("dead")) > dead + 5)
        assert found.device.concern == ""
        assert found.device.trouble_of("dead") == ""
    kinds = [type(event) for event in found.events]
    assert kinds == [Connected]  # the source itself was there all the time


async def test_many_that_are_away_take_no_more_than_one(tcp: Line) -> None:
    server = tcp.serve({1: {"holding": {0: 1, 1: 2}}})
    units = [unit("live", 1), *(unit(f"dead{n}", n) for n in range(2, 12))]
    async with listening(**tcp.settings, timeout="100ms", retries=0, units=units) as found:
        await until(lambda: found.device.concern.count("no answer") == 10)
        begun, asked = len(found.readings("live")), len(server.requests)
        await asyncio.sleep(4)
        live, all_of_them = len(found.readings("live")) - begun, len(server.requests) - asked
    # 50 ms each: 80 at best.
    assert live > 0.8 * 80
    assert 0 < all_of_them - live < 6  # 4 s, of which 5 % are two requests of 100 ms


async def test_those_that_are_away_take_turns(monkeypatch: pytest.MonkeyPatch, tcp: Line) -> None:
    monkeypatch.setattr("gateway.io.modbus.units._SLOWEST", 0.1)  # less than what their share lets
    server = tcp.serve({n: {"holding": {0: n, 1: n}} for n in range(1, 5)})
    server.silent |= {2, 3, 4}
    units = [unit(f"n{n}", n) for n in range(1, 5)]
    async with listening(**tcp.settings, timeout="50ms", retries=0, units=units) as found:
        await until(lambda: found.device.concern.count("no answer") == 3)
        begun = len(server.requests)
        await asyncio.sleep(4)
        asked = [one for one, *_ in server.requests[begun:] if one > 1]
        assert sorted(asked[:3]) == [2, 3, 4]
        server.silent.clear()
        await until(lambda: found.device.concern == "")
        assert {"n2", "n3", "n4"} <= {r.device for b in found.bursts for r in b.readings or ()}


async def test_all_away_and_back(line: Line) -> None:
    server = line.serve({1: {"holding": {0: 1, 1: 2}}})
    async with listening(**line.settings, timeout="100ms", units=[unit("only")]) as found:
        await until(lambda: len(found.bursts) > 3)
        server.silent.add(1)
        await until(lambda: "no answer" in found.device.trouble)
        count = len(server.requests)
        await asyncio.sleep(2)
        assert len(server.requests) - count < 8  # every 50 ms it would be 20 and more
        server.silent.clear()
        seen = len(found.bursts)
        await until(lambda: len(found.bursts) > seen + 3)
        assert found.device.trouble == ""
    kinds = [type(event) for event in found.events]
    assert kinds == [Connected, Disconnected, Connected]


async def test_a_server_that_is_killed_and_comes_back(tcp: Line) -> None:
    tcp.serve({1: {"holding": {0: 1, 1: 2}}})
    async with listening(**tcp.settings, units=[unit("a")]) as found:
        await until(lambda: len(found.bursts) > 3)
        assert tcp.server is not None
        await asyncio.to_thread(tcp.server.stop)
        await until(lambda: "Connection refused" in found.device.trouble, 10)
        assert "Connection refused" in found.device.concern
        seen = len(found.bursts)
        tcp.serve({1: {"holding": {0: 7, 1: 2}}})
        await until(lambda: len(found.bursts) > seen + 3)
        assert found.last("a") == {"x": 7.0, "y": 2.0}
        assert found.device.trouble == found.device.concern == ""
        assert found.unit()["skipped"] == 0
    kinds = [type(event) for event in found.events]
    assert kinds == [Connected, Disconnected, Connected]


async def test_a_server_that_is_not_there_at_first(tcp: Line) -> None:
    async with listening(**tcp.settings, units=[unit("a")]) as found:
        assert found.device.trouble == "connecting"
        await until(lambda: "Connection refused" in found.device.trouble)
        tcp.serve({1: {"holding": {0: 1, 1: 2}}})
        await until(lambda: bool(found.bursts))


async def test_a_host_that_there_is_not() -> None:
    async with listening(host="no-such-host.invalid", units=[unit("a")]) as found:
        await until(lambda: found.device.trouble not in ("", "connecting"))
        assert found.device.trouble.startswith("no-such-host.invalid:502: ")


async def test_a_connection_that_nothing_comes_over_is_made_anew() -> None:
    """As after a firewall has forgotten it: bytes go nowhere, and nobody says so."""
    opened: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        while await reader.read(100):
            pass

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    units = [unit("a")]
    async with listening(host="127.0.0.1", port=port, timeout="50ms", units=units):
        await until(lambda: len(opened) >= 3)
    server.close()


class Plc:
    """A device that is switched on and off: while it is off its address answers nothing, as there
    is nobody who could refuse a connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=8)
        self._socket.setblocking(False)
        self._callers: list[socket.socket] = []  # who fill the queue
        self._open: list[asyncio.StreamWriter] = []
        self._on = asyncio.Event()
        port = self._socket.getsockname()[1]
        self.settings: dict[str, Any] = {"host": "127.0.0.1", "port": port}
        self.switch_off()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while await self._on.wait():
            connection, _ = await loop.sock_accept(self._socket)
            reader, writer = await asyncio.open_connection(sock=connection)
            self._open = [writer]
            with suppress(asyncio.IncompleteReadError, OSError):
                while request := await reader.readexactly(12):
                    head, count = request[:4], request[11]
                    body = bytes((request[6], 3, 2 * count)) + bytes(2 * count)
                    writer.write(head + len(body).to_bytes(2, "big") + body)
            writer.close()

    def switch_off(self) -> None:
        self._on.clear()
        self._socket.listen(0)
        for _ in range(3):  # one waits to be accepted, and nobody else is heard any more
            self._callers.append(caller := socket.socket())
            caller.setblocking(False)
            caller.connect_ex(self._socket.getsockname())
        for writer in self._open:
            writer.close()

    def switch_on(self) -> None:
        for caller in self._callers:
            caller.close()
        self._socket.listen(8)
        self._on.set()


@pytest.fixture
async def plc() -> AsyncIterator[Plc]:
    found = Plc()
    task = asyncio.create_task(found.serve())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found.switch_on()
    found._socket.close()


@pytest.mark.parametrize("at_first", [True, False])
async def test_a_device_that_is_switched_off_is_told(
    monkeypatch: pytest.MonkeyPatch, plc: Plc, caplog: pytest.LogCaptureFixture, at_first: bool
) -> None:
    monkeypatch.setattr(tcp_line, "_PATIENCE", 0.5)
    monkeypatch.setattr(tcp_line, "_LASTING", 0.5)
    if not at_first:
        plc.switch_on()
    async with listening(**plc.settings, units=[unit("a")]) as found:
        if not at_first:
            await until(lambda: len(found.bursts) > 3)
            await asyncio.sleep(0.6)  # it was well for a while
            plc.switch_off()
        await until(lambda: "does not answer within 0.5 s" in found.device.trouble, 10)
        assert at_first or found.device.concern == found.device.trouble
        await asyncio.sleep(1)
        assert len([each for each in caplog.records if "not answer" in each.getMessage()]) == 1
        plc.switch_on()
        seen = len(found.bursts)
        await until(lambda: len(found.bursts) > seen + 3)
        assert found.device.trouble == found.device.concern == ""
    kinds = [type(event) for event in found.events]
    assert kinds == ([] if at_first else [Connected, Disconnected]) + [Connected]


async def test_a_connection_that_is_closed_when_idle_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, tcp: Line
) -> None:
    monkeypatch.setattr("gateway.io.modbus.tcp_line._LASTING", 0.2)
    tcp.serve({1: {"holding": {0: 1, 1: 2}}})
    async with listening(**tcp.settings, units=[unit("a")]) as found:
        await until(lambda: len(found.bursts) > 10)
        writer = found.device._line._writer  # type: ignore[union-attr]
        assert writer is not None
        writer.transport.get_extra_info("socket").shutdown(2)
        seen = len(found.bursts)
        await until(lambda: len(found.bursts) > seen + 3)
        assert found.device.details()["opened"] == 2
    assert [type(event) for event in found.events] == [Connected]


async def test_a_cable_that_is_pulled_and_plugged_in_again(rtu: Line) -> None:
    rtu.serve({1: {"holding": {0: 1, 1: 2}}})
    assert rtu.cable is not None
    async with listening(**rtu.settings, units=[unit("a")]) as found:
        await until(lambda: len(found.bursts) > 3)
        rtu.cable.unplug()
        await until(lambda: "is not there" in found.device.trouble, 10)
        assert "is not there" in found.device.concern
        rtu.cable.plug()
        rtu.cable.let_go()
        seen = len(found.bursts)
        await until(lambda: len(found.bursts) > seen + 3)
        assert rtu.cable.paths[0] != rtu.cable.paths[-1]
        assert found.device.trouble == ""


# -- what units refuse -----------------------------------------------------------------------


async def test_a_register_that_is_not_there_is_told_once_and_the_others_are_read(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server = line.serve({1: {"holding": {0: 1, 1: 2, 4: 5, 5: 6}}})
    registers = [{"name": f"n{n}", "address": n} for n in (0, 1, 3, 4, 5)]
    units = [unit("a", map={"registers": registers, "every": "50ms"})]
    async with listening(**line.settings, units=units) as found:
        await until(lambda: len(found.bursts) > 5)
        assert found.last("a") == {"n0": 1.0, "n1": 2.0, "n4": 5.0, "n5": 6.0}
        assert found.readings("a")[0].values == found.last("a")  # at once, not only next time
        told = [record for record in caplog.records if "n3" in record.getMessage()]
        assert len(told) == 1
        text = told[0].getMessage()
        assert "holding 3: illegal data address" in text
        assert "from 0 or from 1" in text
        assert "n3" in found.device.concern
        assert found.device.trouble == ""
        assert found.unit()["refused"].keys() == {"n3"}
    asked = server.asked(1)
    assert asked[-2:] == [(3, 0, 2), (3, 4, 2)] or asked[-2:] == [(3, 4, 2), (3, 0, 2)]
    assert asked.count((3, 3, 1)) == 1


async def test_what_was_refused_is_asked_for_again_some_time(
    monkeypatch: pytest.MonkeyPatch, tcp: Line, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("gateway.io.modbus.units._AGAIN", 0.3)
    server = tcp.serve({1: {"holding": {0: 1, 1: 2}}})
    server.exceptions[1] = 2
    async with listening(**tcp.settings, units=[unit("a")]) as found:
        await until(lambda: len(found.unit()["refused"]) == 2)
        await asyncio.sleep(1)
        assert sum("illegal" in record.getMessage() for record in caplog.records) == 2
        assert len(server.requests) < 20  # not each 50 ms
        server.exceptions.clear()
        await until(lambda: found.last("a") == {"x": 1.0, "y": 2.0})
        assert found.device.concern == ""


@pytest.mark.parametrize(
    ("code", "text"),
    [(1, "illegal function"), (4, "has failed"), (6, "busy"), (99, "exception 99")],
)
async def test_other_exceptions_are_told(tcp: Line, code: int, text: str) -> None:
    server = tcp.serve({1: {"holding": {0: 1, 1: 2}}, 2: {"holding": {0: 1, 1: 2}}})
    server.exceptions[1] = code
    async with listening(**tcp.settings, units=[unit("a"), unit("b", 2)]) as found:
        await until(lambda: text in found.device.concern)
        await until(lambda: len(found.readings("b")) > 3)
        assert "a (unit 1)" in found.device.concern
        assert found.device.trouble_of("a") == ""
        server.exceptions.clear()
        if code != 1:
            await until(lambda: bool(found.readings("a")))
            assert found.device.concern == ""


@pytest.mark.parametrize("code", [10, 11])
async def test_a_gateway_that_does_not_reach_a_unit(tcp: Line, code: int) -> None:
    server = tcp.serve({1: {"holding": {0: 1, 1: 2}}, 2: {"holding": {0: 1, 1: 2}}})
    server.exceptions[1] = code
    async with listening(**tcp.settings, units=[unit("a"), unit("b", 2)]) as found:
        await until(lambda: bool(found.device.trouble_of("a")))
        assert "gateway" in found.device.trouble_of("a")
        server.exceptions.clear()
        await until(lambda: bool(found.readings("a")))


# -- what is told ----------------------------------------------------------------------------


SETTABLE = {
    "every": "50ms",
    "registers": [
        {"name": "setpoint", "address": 0, "type": "int16", "scale": 0.1, "write": True,
         "min": 5, "max": 30},
        {"name": "energy", "address": 1, "type": "uint32", "write": True},
        {"name": "label", "address": 3, "type": "string", "length": 3, "write": True},
        {"name": "mode", "address": 6, "names": {0: "off", 1: "heat"}, "write": True},
        {"name": "fixed", "address": 7},
        {"name": "reset", "address": 8, "write": True, "read": False},
        {"name": "pump.on", "table": "coil", "address": 3, "write": True},
    ],
}  # fmt: skip
VALUES = {"holding": dict.fromkeys(range(9), 0), "coil": {3: 0}}


async def test_setting_values(line: Line) -> None:
    server = line.serve({1: VALUES, 2: VALUES})
    units = [unit("one", 1, map=SETTABLE), unit("two", 2, map=SETTABLE)]
    async with listening(**line.settings, units=units) as found:
        await until(lambda: len(found.bursts) > 2)
        reply = await found.tell(device="two", setpoint=21.5, mode="heat", **{"pump.on": True})
        assert (reply.status, reply.error) == ("ok", "")
        assert reply.result == {"setpoint": 21.5, "mode": "heat", "pump.on": True}
        values = [
            server.get(2, "holding", 0),
            server.get(2, "holding", 6),
            server.get(2, "coil", 3),
        ]
        assert values == [215, 1, 1]
        assert server.get(1, "holding", 0) == 0
        reply = await found.tell(device="two", energy=70_000, label="Käs", reset=1)
        assert reply.result == {"energy": 70_000.0, "label": "Käs", "reset": 1}
        assert [server.get(2, "holding", n) for n in (1, 2, 8)] == [1, 4_464, 1]
        await until(lambda: found.last("two").get("label") == "Käs")
        # It is told at once, before it is read as ever.
        assert any(r.values == {"setpoint": 21.5, "mode": "heat", "pump.on": True}
                   for r in found.readings("two"))  # fmt: skip
        functions = {function for function, _, _ in server.asked(2)}
        assert functions == {1, 3, 5, 6, 16}


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"setpoint": 31}, "setpoint: more than 30"),
        ({"setpoint": 4.9}, "setpoint: less than 5"),
        ({"setpoint": "hot"}, "setpoint: no number"),
        ({"setpoint": True}, "setpoint: no number"),
        ({"setpoint": float("nan")}, "setpoint: no number"),
        ({"energy": -1}, "energy: no uint32 can hold it"),
        ({"label": "too long"}, "label: longer than 6 bytes"),
        ({"label": 5}, "label: no text"),
        ({"mode": "cool"}, "mode: none of off, heat"),
        ({"pump.on": "yes"}, "pump.on: neither true nor false"),
        ({"fixed": 1}, '"fixed" cannot be set; can be set: setpoint, energy'),
        ({"other": 1}, '"other" is not there; can be set: setpoint'),
        ({"setpoint": 20, "energy": -1}, "energy: no uint32 can hold it"),
        ({}, "nothing to set; can be set: setpoint"),
    ],
)
async def test_what_cannot_be_set_is_not_tried(tcp: Line, args: dict[str, Any], error: str) -> None:
    server = tcp.serve({1: VALUES})
    async with listening(**tcp.settings, units=[unit("one", map=SETTABLE)]) as found:
        await until(lambda: bool(found.bursts))
        reply = await found.tell(**args)
        assert reply.status == "rejected"
        assert reply.error.startswith(error)
        assert not {5, 6, 15, 16} & {function for function, _, _ in server.asked(1)}


async def test_commands_that_are_not_for_us(tcp: Line) -> None:
    tcp.serve({1: VALUES, 2: VALUES})
    units = [unit("one", 1, map=SETTABLE), unit("two", 2)]
    async with listening(**tcp.settings, units=units) as found:
        reply = await found.tell(setpoint=20)
        assert (reply.status, reply.error) == ("rejected", 'no device ""; known: one, two')
        reply = await found.tell("boil", "one")
        assert (reply.status, reply.error) == ("rejected", 'no command "boil"; known: set')
        reply = await found.tell(device="two", x=1)
        assert reply.error == '"x" cannot be set; nothing of it can be set'
        late = Command("set", {"setpoint": 20}, expires=time.time_ns() - 1, device="one")
        assert (await found.device.execute(late)).status == "expired"


async def test_a_device_that_keeps_what_it_has(tcp: Line) -> None:
    server = tcp.serve({1: VALUES})
    server.stuck.add(1)
    async with listening(**tcp.settings, units=[unit("one", map=SETTABLE)]) as found:
        await until(lambda: bool(found.bursts))
        reply = await found.tell(setpoint=20)
        assert reply.status == "failed"
        assert "it was told 20 and has 0" in reply.error


async def test_a_device_that_knows_only_the_function_for_several(line: Line) -> None:
    server = line.serve({1: VALUES})
    server.lacks = {5, 6}
    async with listening(**line.settings, units=[unit("one", map=SETTABLE)]) as found:
        await until(lambda: bool(found.bursts))
        reply = await found.tell(setpoint=20, **{"pump.on": True})
        assert (reply.status, reply.error) == ("ok", "")
        assert server.get(1, "holding", 0) == 200
        assert server.get(1, "coil", 3) == 1


async def test_what_can_only_be_set_is_never_read(tcp: Line) -> None:
    server = tcp.serve({1: {"holding": {8: 0}}, 2: {"holding": {0: 1, 1: 2}}})
    only = {"registers": [{"name": "reset", "address": 8, "write": True, "read": False}]}
    units = [unit("button", 1, map=only), unit("other", 2)]
    async with listening(**tcp.settings, units=units) as found:
        await until(lambda: len(found.readings("other")) > 2)
        assert server.asked(1) == []
        assert (await found.tell(device="button", reset=1)).result == {"reset": 1}
        assert server.asked(1) == [(6, 8, 1)]
    async with listening(**tcp.settings, units=units[:1]) as found:
        await until(lambda: found.device.trouble == "")
        assert (await found.tell(reset=0)).status == "ok"


async def test_a_device_that_is_away_cannot_be_told(tcp: Line) -> None:
    server = tcp.serve({1: VALUES})
    units = [unit("one", map=SETTABLE)]
    async with listening(**tcp.settings, timeout="100ms", units=units) as found:
        await until(lambda: bool(found.bursts))
        server.silent.add(1)
        reply = await found.tell(setpoint=20)
        assert (reply.status, reply.error) == ("failed", "setpoint: no answer within 100ms")
        assert tcp.server is not None
        await asyncio.to_thread(tcp.server.stop)
        await until(lambda: "refused" in found.device.trouble)
        reply = await found.tell(setpoint=20)
        assert reply.status == "failed"
        assert "refused" in reply.error


# -- what a serial line is like --------------------------------------------------------------


class Slave:
    """A unit made by hand, for what a server would never do. answer: what it says to a request;
    pieces with a time (s) to wait before each."""

    def __init__(self, cable: NullModem) -> None:
        self.cable = cable
        self.asked: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._fd = os.open(cable.far, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        self.answer: Callable[[bytes], list[tuple[float, bytes]]] = lambda request: []
        self._loop.add_reader(self._fd, self._read)
        self._tasks: list[asyncio.Task[None]] = []

    def _read(self) -> None:
        request = os.read(self._fd, 256)
        self.asked.append(request)
        self._tasks.append(asyncio.create_task(self._say(self.answer(request))))

    async def _say(self, pieces: list[tuple[float, bytes]]) -> None:
        for wait, piece in pieces:
            await asyncio.sleep(wait)
            os.write(self._fd, piece)

    async def close(self) -> None:
        self._loop.remove_reader(self._fd)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        os.close(self._fd)


def reply_to(request: bytes, first: int | None = None) -> bytes:
    """The answer to a read of holding registers: each has its address, or counts from `first`."""
    address, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    begin = address if first is None else first
    pdu = ReadHoldingRegistersResponse(registers=list(range(begin, begin + count)))
    pdu.dev_id = request[0]
    return FramerRTU(DecodePDU(True)).buildFrame(pdu)


APART: dict[str, Any] = {
    "gap": 0,
    "every": "50ms",
    "registers": [{"name": "low", "address": 10}, {"name": "high", "address": 20}],
}


@pytest.fixture
async def slave(rtu: Line) -> AsyncIterator[Slave]:
    assert rtu.cable is not None
    found = Slave(rtu.cable)
    yield found
    await found.close()


async def test_a_late_answer_is_not_taken_for_that_to_the_next_request(
    rtu: Line, slave: Slave
) -> None:
    """Each answer comes after the driver gave the request up, when it may have made another."""
    slow = [0.0, 0.15, 0.19, 0.0, 0.0, 0.18, 0.12, 0.0]
    slave.answer = lambda request: [(slow[len(slave.asked) % len(slow)], reply_to(request))]
    units = [unit("a", map=APART)]
    async with listening(**rtu.settings, timeout="100ms", units=units) as found:
        await until(lambda: len(found.readings("a")) > 20, 60)
    for reading in found.readings("a"):
        assert reading.values.items() <= {"low": 10.0, "high": 20.0}.items()


async def test_a_command_that_is_given_up_leaves_nothing_behind(rtu: Line, slave: Slave) -> None:
    """Its answer comes all the same, when something else is being asked."""
    slave.answer = lambda request: [
        (0.2 if request[2:4] == b"\x00\x63" else 0.03, reply_to(request))
    ]
    registers = [*APART["registers"], {"name": "slow", "address": 99, "every": "1d"}]
    units = [unit("a", map={**APART, "registers": registers})]
    async with listening(**rtu.settings, units=units) as found:
        await until(lambda: len(found.readings("a")) > 5)
        block = found.device._all["a"].groups[1].blocks[0]
        for _ in range(4):
            asking = asyncio.create_task(found.device._exchange.ask(1, read_request(block), 0.3))
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await asyncio.sleep(0.3)
            seen = len(found.readings("a"))
            await until(lambda n=seen: len(found.readings("a")) > n)
    for reading in found.readings("a"):
        assert reading.values.items() <= {"low": 10.0, "high": 20.0, "slow": 99.0}.items()


async def test_an_answer_in_pieces_and_behind_rubbish(rtu: Line, slave: Slave) -> None:
    def answer(request: bytes) -> list[tuple[float, bytes]]:
        whole = reply_to(request)
        if len(slave.asked) % 2:
            return [(0, whole[:3]), (0.03, whole[3:5]), (0.03, whole[5:])]
        return [(0, b"\x00\xff"), (0.02, whole)]

    slave.answer = answer
    units = [unit("a", map=APART)]
    async with listening(**rtu.settings, timeout="300ms", units=units) as found:
        await until(lambda: len(found.readings("a")) > 10)
        assert found.last("a").items() <= {"low": 10.0, "high": 20.0}.items()


async def test_rubbish_is_told_from_silence(rtu: Line, slave: Slave) -> None:
    slave.answer = lambda request: [(0, reply_to(request)[:-1] + b"\x00")]
    units = [unit("a", map=APART)]
    async with listening(**rtu.settings, timeout="100ms", units=units) as found:
        await until(lambda: found.device.trouble not in ("", "connecting"))
        assert "was no answer" in found.device.trouble
        assert "baudrate, parity and wiring" in found.device.trouble
        assert found.bursts == []


async def test_answers_of_others_and_of_another_length_are_none(rtu: Line, slave: Slave) -> None:
    def answer(request: bytes) -> list[tuple[float, bytes]]:
        other = bytes([9]) + request[1:]
        longer = request[:5] + bytes([request[5] + 1]) + request[6:]
        return [(0, reply_to(other, 900)), (0.02, reply_to(longer, 900)), (0.02, reply_to(request))]

    slave.answer = answer
    units = [unit("a", map=APART)]
    async with listening(**rtu.settings, units=units) as found:
        await until(lambda: len(found.readings("a")) > 3)
        assert found.last("a") == {"low": 10.0, "high": 20.0}


async def test_an_adapter_that_hears_what_it_sends(rtu: Line, slave: Slave) -> None:
    slave.answer = lambda request: [(0, request + reply_to(request))]
    units = [unit("a", map=APART)]
    async with listening(**rtu.settings, echo=True, units=units) as found:
        await until(lambda: len(found.readings("a")) > 3)
        assert found.last("a") == {"low": 10.0, "high": 20.0}
        assert found.unit()["unanswered"] == 0


async def test_one_lost_frame_costs_no_reading(rtu: Line, slave: Slave) -> None:
    slave.answer = lambda request: [(0, reply_to(request))] if len(slave.asked) != 5 else []
    units = [unit("a", map=APART)]
    async with listening(**rtu.settings, timeout="100ms", units=units) as found:
        await until(lambda: len(found.readings("a")) > 6)
        assert all(len(reading.values) == 2 for reading in found.readings("a"))
        assert len(slave.asked) > 10
        assert found.unit()["unanswered"] == 0


async def test_rtu_through_a_serial_server() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(256):
            writer.write(reply_to(request))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    units = [unit("a", map=APART)]
    async with listening(host="127.0.0.1", port=port, encoding="rtu", units=units) as found:
        await until(lambda: found.last("a") == {"low": 10.0, "high": 20.0})
    server.close()
