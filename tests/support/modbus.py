"""Modbus servers that really speak the protocol: pymodbus's, over TCP on loopback and RTU at the
other end of a serial cable."""

import asyncio
import os
import select
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.support.cable import Cable
from tests.support.ports import end, wait_for_port

Tables = Mapping[str, Mapping[int, int]]
"""Values by table (holding, input, coil, discrete) and address; no other addresses are there."""

_TABLES = ("coil", "discrete", "holding", "input")
_CODES = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}


class Server:
    """Units on a line. make: makes the server, in the thread where it runs.

    requests: what was asked, as (unit, function, address, count). silent: units that do not answer
    now; what they are asked is noted all the same. exceptions: what units answer, whatever they are
    asked. lacks: functions that no unit has. stuck: units that take what is written and keep what
    they have.
    """

    def __init__(self, units: Mapping[int, Tables], make: Callable[..., Any]) -> None:
        self.units = units
        self.requests: list[tuple[int, int, int, int]] = []
        self.silent: set[int] = set()
        self.exceptions: dict[int, int] = {}
        self.lacks: set[int] = set()
        self.stuck: set[int] = set()
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()

    def start(self) -> "Server":
        """Serve."""
        self._up.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._up.wait(10)
        return self

    def stop(self) -> None:
        """Be gone, with every connection."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._server.serving.set_result, True)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._thread = None

    def set(self, unit: int, table: str, address: int, value: int) -> None:
        """Let a register have another value."""
        values = [bool(value)] if table in ("coil", "discrete") else [value]
        self._call(self._server.async_setValues(unit, _CODES[table], address, values))

    def get(self, unit: int, table: str, address: int) -> int:
        """What a register has."""
        return int(self._call(self._server.async_getValues(unit, _CODES[table], address, 1))[0])

    def asked(self, unit: int) -> list[tuple[int, int, int]]:
        """What a unit was asked: (function, address, count)."""
        return [(code, at, n) for one, code, at, n in list(self.requests) if one == unit]

    def _call(self, work: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        devices = [self._device(number, tables) for number, tables in self.units.items()]
        self._server = self._make(devices, trace_pdu=self._seen, ignore_missing_devices=True)
        await self._server.serve_forever(background=True)
        self._up.set()
        await self._server.serving
        self._server.close()
        await asyncio.sleep(0.05)

    def _device(self, number: int, tables: Tables) -> SimDevice:
        async def action(
            function: int,
            start: int,
            address: int,
            count: int,
            registers: list[int],
            values: list[Any] | None,
        ) -> ExcCodes | None:
            if values is not None and number in self.stuck:
                values[:] = registers[address - start : address - start + len(values)]
            return None

        blocks = tuple(_block(table, tables.get(table, {})) for table in _TABLES)
        return SimDevice(number, simdata=blocks, use_bit_addressing=True, action=action)

    def _seen(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if sending:
            return pdu
        count = pdu.count or len(pdu.registers) or len(pdu.bits)
        self.requests.append((pdu.dev_id, pdu.function_code, pdu.address, count))
        if pdu.dev_id in self.silent or pdu.dev_id not in self.units:
            pdu.datastore_update = _be_silent  # type: ignore[method-assign]
        elif (code := self.exceptions.get(pdu.dev_id, 0)) or pdu.function_code in self.lacks:
            pdu.datastore_update = _refuse(pdu.function_code, code or 1)  # type: ignore[method-assign]
        return pdu


async def _be_silent(context: Any, unit: int) -> ModbusPDU:
    raise NoSuchIdException  # which the server is told to keep to itself


def _refuse(function: int, code: int) -> Any:
    async def update(context: Any, unit: int) -> ModbusPDU:
        return ExceptionResponse(function, code)

    return update


def _block(table: str, values: Mapping[int, int]) -> list[SimData]:
    """One register each, so that what lies between is not there."""
    if table in ("coil", "discrete"):
        wanted = [bool(values.get(n)) for n in range(max(values, default=0) + 1)]
        return [SimData(0, values=wanted, datatype=DataType.BITS)]
    return [
        SimData(address, values=value, datatype=DataType.REGISTERS)
        for address, value in sorted(values.items())
    ] or [SimData(65_000, values=0, datatype=DataType.REGISTERS)]


def tcp_server(port: int, units: Mapping[int, Tables]) -> Server:
    """A Modbus TCP server on loopback."""

    def make(devices: list[SimDevice], **more: Any) -> ModbusTcpServer:
        return ModbusTcpServer(devices, address=("127.0.0.1", port), **more)

    return Server(units, make)


class NullModem(Cable):
    """A cable whose other end is a serial port too: what is written at one end is read at the
    other. far: the path of the other end's port."""

    def __init__(self, link: Path) -> None:
        super().__init__(link, lambda line: b"")
        self._far, self._far_slave = os.openpty()
        tty.setraw(self._far_slave)
        self.far = os.ttyname(self._far_slave)

    def close(self) -> None:
        """Take it away."""
        self.unplug()
        for fd in (self._far, self._far_slave):
            os.close(fd)

    def _serve(self, master: int) -> None:
        ends = {master: self._far, self._far: master}
        while not self._pulled.is_set():
            for one in select.select(list(ends), [], [], 0.02)[0]:
                with suppress(OSError):
                    os.write(ends[one], os.read(one, 4096))


def rtu_server(port: str, units: Mapping[int, Tables]) -> Server:
    """A Modbus RTU server on a serial port."""

    def make(devices: list[SimDevice], **more: Any) -> ModbusSerialServer:
        return ModbusSerialServer(devices, port=port, baudrate=9600, **more)

    return Server(units, make)


class Apart:
    """A Modbus TCP server in a process of its own: unit 1 with register 0."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Apart":
        """Serve."""
        command = [sys.executable, "-m", "tests.support.modbus", str(self._port)]
        self._process = subprocess.Popen(command)
        wait_for_port(self._port, self._process)
        return self

    def stop(self) -> None:
        """Be gone."""
        if self._process is not None:
            end(self._process)
        self._process = None


if __name__ == "__main__":
    tcp_server(int(sys.argv[1]), {1: {"holding": {0: 1}}}).start()
    threading.Event().wait()
