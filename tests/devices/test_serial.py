"""The serial device on a pseudo-terminal: frames, unplugging, the port."""

import asyncio
import os
import subprocess
import sys
import termios
import time
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

import pytest

from gateway.config import InvalidConfig, loads
from gateway.core.contracts import Actuator, Described, Detailed, Watched
from gateway.core.events import Connected, Disconnected, Failed
from gateway.io.serial import port as serial_port
from tests.support.cable import Cable
from tests.support.serial_listener import Listener, at_work, connected, listening, until
from tests.support.usb import adapter, gone


async def test_what_it_is(cable: Cable) -> None:
    cable.plug()
    async with listening(cable, codec={"type": "json"}) as found:
        device = found.device
        for contract in (Watched, Detailed, Described, Actuator):
            assert isinstance(device, contract)
        details = device.details()
        assert (details["path"], details["opened"]) == (str(cable.link), 1)
        assert device.info()["source"] == "serial"
    assert device.trouble == "stopped"


async def test_a_thousand_lines_in_order(cable: Cable) -> None:
    cable.plug()
    async with listening(cable) as found:
        for number in range(1_000):
            cable.say(b'{"n": %d}\r\n' % number)
            if number % 50 == 0:
                await asyncio.sleep(0.01)  # the device's pace: a terminal takes 4 kB
        await until(lambda: len(found.payloads) >= 1_000)
        assert found.payloads == [b'{"n": %d}' % number for number in range(1_000)]
        assert found.faults == []
        # What came together is handed on together.
        assert len(found.bursts) < 500
        assert not any(burst.urgent for burst in found.bursts)


async def test_bytes_that_a_terminal_would_change_arrive_as_they_are(cable: Cable) -> None:
    cable.plug()
    every = bytes(byte for byte in range(256) if byte != 0x0A)
    async with listening(cable, framing={"type": "delimiter", "end": "\\n"}) as found:
        cable.say(every + b"\n")
        await until(lambda: bool(found.payloads))
        assert found.payloads == [every]


async def test_rubbish_is_told_of_and_stops_nothing(cable: Cable) -> None:
    cable.plug()
    framing = {"type": "markers", "start": "<", "end": ">", "checksum": {"type": "sum8", "skip": 1}}
    async with listening(cable, framing=framing) as found:
        good = b"<1" + bytes([0x31]) + b">"
        for chunk in (good, b"\x00\xff\x80", good, b"<2", b"x>", good, b"\x13\x11", good):
            cable.say(chunk)
            await asyncio.sleep(0.01)
        await until(lambda: len(found.payloads) == 4)
        assert found.payloads == [b"1"] * 4
        assert found.faults == [
            ("noise", b"\x00\xff\x80"), ("checksum", b"<2x>"), ("noise", b"\x13\x11")
        ]  # fmt: skip


async def test_silence_ends_a_frame(cable: Cable) -> None:
    cable.plug()
    async with listening(cable, framing={"type": "gap", "gap": "40ms"}) as found:
        for number in range(5):
            cable.say(b"a%d" % number)
            await asyncio.sleep(0.01)
            cable.say(b"b")
            await asyncio.sleep(0.15)
        await until(lambda: len(found.payloads) == 5)
        assert found.payloads == [b"a%db" % number for number in range(5)]


async def test_a_loop_that_was_held_up_is_no_silence(cable: Cable) -> None:
    cable.plug()
    async with listening(cable, framing={"type": "gap", "gap": "80ms"}) as found:
        cable.say(b"first,")
        while not found.device.details()["bytes"]:
            await asyncio.sleep(0)
        cable.say(b"second")  # while reading makes its pause
        time.sleep(0.15)  # noqa: ASYNC251 - the timer is due before what came is read
        await until(lambda: bool(found.payloads))
        await asyncio.sleep(0.15)
        assert found.payloads == [b"first,second"]


async def test_what_had_begun_before_it_was_opened_is_no_reading(cable: Cable) -> None:
    cable.plug()
    found = Listener(cable.link.parent, str(cable.link))
    async with at_work(found):
        await until(lambda: found.device.trouble == "")
        cable.say(b"2.5\n13.5\n")
        await until(lambda: bool(found.payloads))
        assert found.payloads == [b"13.5"]
        assert found.faults == [("cut", b"2.5")]


async def test_unplugged_and_back_under_another_name(cable: Cable) -> None:
    cable.plug()
    async with listening(cable) as found:
        cable.say(b"1\n2")
        await until(lambda: len(found.payloads) == 1)
        cable.unplug()
        await until(lambda: bool(found.device.trouble))
        assert found.device.concern  # seen at once, not when it has lasted
        await until(lambda: "is not there; " in found.device.trouble)
        await asyncio.sleep(1.0)
        cable.plug()
        await connected(found)
        cable.say(b"3\n")
        await until(lambda: len(found.payloads) == 2)
        assert found.payloads == [b"1", b"3"]
        assert found.faults == [("cut", b"2")]
        assert not found.device.concern
        assert found.device.details()["opened"] == 2
    kinds = [type(event) for event in found.events]
    assert kinds == [Connected, Disconnected, Connected]


async def test_an_adapter_is_known_again_by_its_serial_number(cable: Cable, tmp_path: Path) -> None:
    root = tmp_path / "root"
    cable.plug()
    port = adapter(root, "ttyUSB0", cable.paths[-1])
    found = Listener(tmp_path, str(port), root)
    async with at_work(found):
        await connected(found)
        assert found.device.info()["model"] == "FT232R USB UART"
        gone(root, "ttyUSB0")
        cable.plug()
        adapter(root, "ttyUSB1", cable.paths[-1])
        await until(lambda: found.device.details()["opened"] == 2)
        await connected(found)
        cable.say(b"1\n")
        await until(lambda: found.payloads == [b"1"])


async def test_many_times_in_and_out(cable: Cable) -> None:
    """No file stays open, and no task."""
    cable.plug()
    async with listening(cable) as found:
        before, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())  # noqa: PTH208
        for number in range(8):
            cable.plug()
            await until(lambda n=number: found.device.details()["opened"] == n + 2)
            await connected(found)
            cable.say(b"%d\n" % number)
            await until(lambda n=number: len(found.payloads) == n + 1)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
        assert len(asyncio.all_tasks()) == tasks
        assert found.payloads == [b"%d" % number for number in range(8)]


def lock(port: Path) -> None:
    with port.open("rb", buffering=0) as another:
        flock(another, LOCK_EX | LOCK_NB)


HOLD = """
import fcntl, sys, time
port = open(sys.argv[1], "rb", buffering=0)
fcntl.flock(port, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


async def test_a_port_that_another_program_has(cable: Cable) -> None:
    cable.plug()
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(cable.link), stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()
    found = Listener(cable.link.parent, str(cable.link))
    async with at_work(found):
        await until(lambda: "in use" in found.device.trouble)
        assert f"({other.pid})" in found.device.trouble
        other.kill()
        await other.wait()
        await connected(found)
        with pytest.raises(OSError, match=r"busy|unavailable"):  # root may open it all the same
            lock(cable.link)
    lock(cable.link)  # given back


async def test_a_port_that_we_may_not_use_is_tried_again(
    cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root everything may be used; and what udev has just made is root's for a moment.
    cable.plug()
    real = serial_port.serial.Serial
    refusals = 3

    def refuses(*args: Any, **more: Any) -> Any:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise PermissionError(13, "Permission denied")
        return real(*args, **more)

    monkeypatch.setattr(serial_port.serial, "Serial", refuses)
    found = Listener(cable.link.parent, str(cable.link))
    async with at_work(found):
        await until(lambda: found.device.denied)
        assert "may not use" in found.device.trouble
        await connected(found)
        assert not found.device.denied
        assert [type(event) for event in found.events] == [Failed, Connected]


async def test_how_the_port_is_set_up(cable: Cable) -> None:
    cable.plug()
    keys = {"baudrate": 19_200, "parity": "even", "stopbits": 2, "bytesize": 8, "flow": "xonxoff"}
    async with listening(cable, **keys):
        iflag, _, cflag, lflag, speed, _, controls = termios.tcgetattr(cable.slave)
    assert speed == termios.B19200
    assert cflag & termios.CSTOPB
    assert iflag & termios.IXOFF
    assert iflag & termios.INPCK  # a byte with the wrong parity is not taken for right
    assert not iflag & (termios.BRKINT | termios.ICRNL | termios.IGNCR)
    assert not lflag & (termios.ICANON | termios.ECHO)
    assert controls[termios.VMIN] == b"\x01" or controls[termios.VMIN] == 1


async def test_what_is_no_serial_port(tmp_path: Path) -> None:
    found = Listener(tmp_path, "/dev/null")
    async with at_work(found):
        await until(lambda: "cannot be opened" in found.device.trouble)


@pytest.mark.parametrize("flow", ["none", "rtscts"])
async def test_while_the_disk_refuses_memory_is_bounded(
    cable: Cable, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    monkeypatch.setattr("devices.serial._BACKLOG", 20_000)
    cable.plug()
    async with listening(cable, flow=flow) as found:
        found.open.clear()
        sent = 0
        for _ in range(400):
            try:
                os.set_blocking(cable.master, False)
                cable.say(b"%03d\n" % (sent % 1000) * 10)
                sent += 10
            except BlockingIOError:
                break  # flow control holds the sender
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert found.device._weight < 40_000
        found.open.set()
        dropped = found.device.dropped["overflow"]
        if flow == "none":
            assert dropped > 0
            await until(lambda: len(found.payloads) + dropped == sent)
        else:
            assert not found.device.dropped
            await until(lambda: len(found.payloads) >= sent)


# -- configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "place", "said"),
    [
        ("port: ttyUSB0", "devices.0.port", "neither a path nor"),
        ("port: /dev/ttyUSB0, baudrate: 10", "devices.0.baudrate", "too small"),
        ("port: /dev/ttyUSB0, parity: odds", "devices.0.parity", "not one of the choices"),
        ("port: /dev/ttyUSB0, framing: {type: fixed}", "devices.0.framing.type", "needs length"),
        ("port: /dev/ttyUSB0, framing: {end: x}", "devices.0.framing.end", "has no end"),
        ("port: /dev/ttyUSB0, poll: [{every: 1s}]", "devices.0.poll.0", '"request" is missing'),
        ("port: /dev/x, commands: {a: {write: '{'}}", "devices.0.commands.a.write", "brace"),
        ("port: /dev/x, commands: {a: {write: a, error: E}}", "devices.0.commands.a.error", "rep"),
        ("baudrate: 9600", "devices.0", '"port" is missing'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where(keys: str, place: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as wrong:
        loads(f"devices: [{{type: serial, {keys}}}]")
    (problem,) = wrong.value.problems
    assert (problem.path, said in problem.message + problem.hint) == (place, True), problem
