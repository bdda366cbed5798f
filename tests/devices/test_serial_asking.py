"""The serial device on a pseudo-terminal asks and commands: requests, answers, commands."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.core.contracts import Command, Reply, Stored
from gateway.core.events import Connected, Disconnected
from tests.support.cable import Cable
from tests.support.serial_listener import listening, until


def counter() -> Callable[[bytes], bytes]:
    """A device that answers each request with its number."""
    numbers = iter(range(10_000))
    return lambda line: b"%s=%d\r\n" % (line[:1], next(numbers))


async def test_the_next_request_goes_out_after_the_commit(cable: Cable) -> None:
    cable.answer = counter()
    cable.plug()
    async with listening(cable, poll=[{"request": "R\\r\\n", "every": "20ms"}]) as found:
        await until(lambda: len(found.bursts) > 5)
        found.acknowledge = False
        await asyncio.sleep(0.1)
        waiting, asked = found.bursts[-1], len(cable.heard)
        await asyncio.sleep(0.3)
        assert len(cable.heard) == asked  # ten were due
        assert waiting.urgent
        found.acknowledge = True
        waiting.done(Stored())
        await until(lambda: len(cable.heard) > asked + 5)
        numbers = [int(payload[2:]) for payload in found.payloads]
        assert numbers == list(range(len(numbers)))


async def test_several_requests_in_turn_each_at_its_pace(cable: Cable) -> None:
    cable.answer = counter()
    cable.plug()
    poll = [
        {"request": "A\\n", "every": "50ms", "prefix": "fast:"},
        {"request": "B\\n", "every": "200ms", "prefix": "slow:"},
        {"request": "hex:430a", "every": "10s"},
    ]
    async with listening(cable, poll=poll) as found:
        await until(lambda: len(found.bursts) >= 30)
        kinds = [payload.partition(b"=")[0] for payload in found.payloads[:30]]
        assert set(kinds) == {b"fast:A", b"slow:B", b"C"}
        assert kinds.count(b"C") == 1
        assert 2 <= kinds.count(b"fast:A") / kinds.count(b"slow:B") <= 6
        assert [asked["failing"] for asked in found.device.details()["polls"]] == [None] * 3


async def test_an_answer_that_can_wait_for_its_commit_does(cable: Cable) -> None:
    cable.answer = counter()
    cable.plug()
    async with listening(cable, poll=[{"request": "R\\n", "every": "60s"}]) as found:
        await until(lambda: bool(found.bursts))
        assert not found.bursts[0].urgent  # nothing else is due before it is committed anyway


async def test_a_device_that_is_silent_is_told_of_and_asked_more_rarely(cable: Cable) -> None:
    answers = True
    number = counter()
    cable.answer = lambda line: number(line) if answers else b""
    cable.plug()
    poll = [{"request": "R?\\n", "every": "50ms", "timeout": "50ms", "retries": 1}]
    async with listening(cable, poll=poll) as found:
        await until(lambda: len(found.payloads) > 3)
        answers = False
        await until(lambda: found.device.trouble == '"R?": no answer within 50ms')
        asked = len(cable.heard)
        await asyncio.sleep(1.5)
        assert 2 <= len(cable.heard) - asked <= 12  # at its own pace they were 15, each twice
        answers = True
        await until(lambda: found.device.trouble == "")
        count = len(found.payloads)
        await until(lambda: len(found.payloads) > count + 3)
    kinds = [type(event) for event in found.events]
    assert kinds == [Connected, Disconnected, Connected]


async def test_one_of_several_that_is_not_answered_is_a_concern(cable: Cable) -> None:
    number = counter()
    cable.answer = lambda line: number(line) if line == b"A" else b""
    cable.plug()
    poll = [
        {"request": "A\\n", "every": "50ms"},
        {"request": "B\\n", "every": "50ms", "timeout": "50ms", "retries": 0},
    ]
    async with listening(cable, poll=poll) as found:
        await until(lambda: bool(found.device.concern))
        assert found.device.concern == '"B": no answer within 50ms'
        assert found.device.trouble == ""
        count = len(found.payloads)
        await until(lambda: len(found.payloads) > count + 5)


async def test_what_nobody_asked_for_is_no_answer(cable: Cable) -> None:
    number = counter()
    cable.answer = lambda line: line + b"\r\n" + number(line)  # it echoes
    cable.plug()
    poll = [{"request": "READ\\n", "every": "50ms", "answer": "R="}]
    async with listening(cable, poll=poll) as found:
        await until(lambda: len(found.payloads) >= 5)
        assert all(payload.startswith(b"R=") for payload in found.payloads)
        assert found.device.dropped["unasked"] >= 4


async def test_unplugged_between_request_and_answer(cable: Cable) -> None:
    cable.plug()
    async with listening(
        cable, poll=[{"request": "R\\n", "every": "50ms", "timeout": "30s"}]
    ) as found:
        await asyncio.sleep(0.2)  # it waits for an answer, for long
        cable.unplug()
        cable.answer = counter()
        cable.plug()
        await until(lambda: len(found.payloads) > 3)


async def test_confirmed_once_it_is_on_disk(cable: Cable) -> None:
    number = counter()
    cable.answer = lambda line: number(line) if line == b"R" else b""
    cable.plug()
    poll = [{"request": "R\\n", "every": "30ms", "confirm": "DEL\\n"}]
    async with listening(cable, poll=poll) as found:
        await until(lambda: len(found.payloads) >= 5)
        found.acknowledge = False
        await asyncio.sleep(0.3)
        heard = list(cable.heard)
        assert heard == [b"R", b"DEL"] * (len(heard) // 2) + [b"R"]
        found.bursts[-1].done(Stored())
        await until(lambda: cable.heard[len(heard) :] == [b"DEL", b"R"])


# -- commands ---------------------------------------------------------------------------------

COMMANDS: dict[str, Any] = {
    "tare": {"write": "T\\r\\n", "reply": "OK", "error": "ERR", "timeout": "300ms"},
    "set": {"write": "SP {value}\\r\\n", "reply": "OK"},
    "reset": {"write": "hex:5a0d0a"},
}


async def test_commands(cable: Cable) -> None:
    def answer(line: bytes) -> bytes:
        return {b"T": b"W:1\r\nOK done\r\n", b"SP 2.5": b"OK\r\n"}.get(line, b"")

    cable.answer = answer
    cable.plug()
    async with listening(cable, commands=COMMANDS) as found:
        execute = found.device.execute
        assert await execute(Command("tare")) == Reply("ok", result="OK done")
        await until(lambda: found.payloads == [b"W:1"])  # a reading in between is a reading
        assert await execute(Command("set", {"value": 2.5})) == Reply("ok", result="OK")
        assert await execute(Command("reset")) == Reply("ok")
        await until(lambda: cable.heard == [b"T", b"SP 2.5", b"Z"])
        assert (await execute(Command("set", {"value": "1\r\nT"}))).status == "rejected"
        assert (await execute(Command("set"))).status == "rejected"
        assert (await execute(Command("fly"))).error == 'no command "fly"; known: reset, set, tare'
        assert (await execute(Command("tare", expires=1))).status == "expired"
        cable.answer = lambda line: b"ERR 7\r\n"
        assert await execute(Command("tare")) == Reply("failed", error="ERR 7")
        cable.answer = lambda line: b""
        assert await execute(Command("tare")) == Reply("failed", error="no answer within 300ms")
        cable.unplug()
        await until(lambda: bool(found.device.trouble))
        assert (await execute(Command("tare"))).status == "failed"
        assert len(cable.heard) == 5


async def test_commands_take_their_turn_between_requests(cable: Cable) -> None:
    number = counter()
    cable.answer = lambda line: b"OK\r\n" if line.startswith(b"SP") else number(line)
    cable.plug()
    poll = [{"request": "R\\n", "every": "20ms", "answer": "R="}]
    async with listening(cable, poll=poll, commands=COMMANDS) as found:
        replies = await asyncio.gather(
            *(found.device.execute(Command("set", {"value": value})) for value in range(20))
        )
        assert {reply.status for reply in replies} == {"ok"}
        await until(lambda: len(found.payloads) > 10)
        assert not found.device.dropped
