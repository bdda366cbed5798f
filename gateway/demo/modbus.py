"""A heat pump that speaks Modbus TCP. Its setpoint can be written, and it follows."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gateway.demo.site import Place

_EVERY = 2.0
_FLOW, _SETPOINT, _POWER = 0, 1, 2
_HOLDING = 3  # the function that reads these registers
_AT_FIRST = 350  # tenths of a degree
_REGISTERS = [
    {"name": "flow.temperature", "address": _FLOW, "type": "int16", "scale": 0.1, "unit": "°C"},
    {"name": "setpoint", "address": _SETPOINT, "type": "int16", "scale": 0.1, "unit": "°C",
     "write": True, "min": 20, "max": 55},
    {"name": "power", "address": _POWER, "unit": "W"},
]  # fmt: skip


class Modbus:
    """See gateway.demo.parts.Part."""

    needs: ClassVar[str] = "pymodbus"
    devices: ClassVar[Sequence[str]] = ("heat-pump",)
    hints: ClassVar[Mapping[str, str]] = {
        "heat-pump": "does what it is told: berrygate devices command heat-pump set setpoint=40"
    }

    def __init__(self, place: Place) -> None:
        self._place = place

    def sources(self) -> list[dict[str, Any]]:
        """See gateway.demo.parts.Part."""
        heat_pump = {"model": "Simulated", "registers": _REGISTERS, "every": f"{_EVERY:g}s"}
        units = [{"device": "heat-pump", "map": heat_pump}]
        where = {"host": "127.0.0.1", "port": self._place.modbus}
        return [{"type": "modbus", "id": "heating", **where, "units": units}]

    async def run(self) -> None:
        """See gateway.demo.parts.Part."""
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        first = [_AT_FIRST, _AT_FIRST, 0]
        blocks = [SimData(0, values=first, datatype=DataType.REGISTERS)]
        address = ("127.0.0.1", self._place.modbus)
        server = ModbusTcpServer([SimDevice(1, simdata=blocks)], address=address)
        await server.serve_forever(background=True)
        try:
            flow = _AT_FIRST / 10
            while True:
                (setpoint,) = await server.async_getValues(1, _HOLDING, _SETPOINT, 1)
                flow += (setpoint / 10 - flow) * 0.1
                shown = round(self._place.day.about(flow, 0.1) * 10)
                power = max(round(300 + 80 * (setpoint / 10 - 20 + 5 - flow / 4)), 0)
                await server.async_setValues(1, _HOLDING, _FLOW, [shown])
                await server.async_setValues(1, _HOLDING, _POWER, [power])
                await asyncio.sleep(_EVERY)
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call]
