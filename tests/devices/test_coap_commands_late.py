"""CoAP devices are told nothing late, nothing twice, and one thing at a time."""

import asyncio

from gateway.core.contracts import Reply
from tests.devices.test_coap import listening, until
from tests.devices.test_coap_client import server
from tests.devices.test_coap_commands import LIGHT, Lamp, deaf, tell, telling, uri
from tests.support.ports import free_port


async def test_nothing_is_sent_once_it_was_given_up_or_is_late() -> None:
    """A confirmable message is sent again after 2 to 3 s."""
    async with deaf() as (one, short), deaf() as (other, late):
        given_up, expired = await asyncio.gather(
            tell(telling(one, light={**LIGHT, "timeout": "1s"}), on=1),
            tell(telling(other, light={**LIGHT, "timeout": "30s"}), within=1, on=1),
        )
        await asyncio.sleep(3)
        assert (len(short.heard), len(late.heard)) == (1, 1)
    assert given_up == Reply("failed", error="no answer within 1s; it may have been done")
    assert expired == Reply("failed", error="no answer in time; it may have been done")


async def test_who_asks_no_longer_has_it_sent_no_longer() -> None:
    async with deaf() as (port, silent):
        task = asyncio.create_task(tell(telling(port, light=LIGHT), on=1))
        await until(lambda: len(silent.heard) == 1)
        task.cancel()
        await asyncio.sleep(3.2)
        assert len(silent.heard) == 1


async def test_a_lost_message_is_sent_again_as_the_same() -> None:
    async with deaf() as (port, silent):
        await tell(telling(port, light={**LIGHT, "timeout": "4s"}), on=1)
    assert len(silent.heard) == 2
    assert len(set(silent.heard)) == 1


async def test_what_is_late_is_not_begun() -> None:
    port, lamp = free_port(), Lamp()
    lamp.takes = 1.0
    async with server(port, ("light", lamp)):
        found = telling(port, light=LIGHT)
        assert (await tell(found, within=-1, on=0)).status == "expired"
        first, second = await asyncio.gather(
            tell(found, within=30, on=1), tell(found, within=0.5, on=2)
        )
    assert first == Reply("ok")
    assert second == Reply("expired", error="it came too late")
    assert lamp.payloads == [b'{"on": 1}']


async def test_one_at_a_time_for_each_server() -> None:
    port, lamp, other, second = free_port(), Lamp(), free_port(), Lamp()
    lamp.takes = 0.3
    async with server(port, ("light", lamp)), server(other, ("light", second)), deaf() as (away, _):
        commands = {"light": LIGHT, "other": {"url": uri(other)}, "away": {"url": uri(away)}}
        found = telling(port, **commands)
        hanging = asyncio.create_task(tell(found, "away"))
        replies = await asyncio.gather(
            *(tell(found, on=number) for number in range(3)), tell(found, "other")
        )
        assert not hanging.done()
        hanging.cancel()
    assert [reply.status for reply in replies] == ["ok"] * 4
    assert lamp.most == 1
    assert lamp.payloads == [b'{"on": %d}' % number for number in range(3)]


async def test_a_request_that_nobody_answers_holds_no_command_up() -> None:
    async with deaf("changed") as (port, half):
        polled = {"url": uri(port), "device": "lamp", "commands": {"light": LIGHT}}
        async with listening(serve=False, poll=[polled]) as found:
            await until(lambda: len(half.heard) == 1)
            assert await tell(found, on=1) == Reply("ok")
