"""Requests as pymodbus makes them: what reads a block, what writes a value. No I/O."""

from collections.abc import Sequence

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from gateway.io.modbus.plan import Block, Item, Memory

_READ: dict[str, type[ModbusPDU]] = {
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
}


def read_request(block: Block) -> ModbusPDU:
    """What reads a block."""
    return _READ[block.table](address=block.address, count=block.count)


def remember(memory: Memory, block: Block, answer: ModbusPDU) -> None:
    """What the answer to that holds."""
    found = answer.registers or answer.bits
    for place in range(block.count):
        memory[block.table, block.address + place] = int(found[place])


def write_request(item: Item, words: Sequence[int], *, many: bool) -> ModbusPDU:
    """What writes a value. many: with the function for several, although it is one."""
    if item.table == "coil":
        bits = [bool(word) for word in words]
        if many:
            return WriteMultipleCoilsRequest(address=item.address, bits=bits)
        return WriteSingleCoilRequest(address=item.address, bits=bits)
    registers = list(words)
    if many or len(registers) > 1:
        return WriteMultipleRegistersRequest(address=item.address, registers=registers)
    return WriteSingleRegisterRequest(address=item.address, registers=registers)
