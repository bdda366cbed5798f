"""Requests to units on a line, one at a time, and what they answer.

pymodbus makes the frames and takes them apart; how bytes come and go is our own, see
gateway.io.serial.line and gateway.io.modbus.tcp_line. On a serial line an answer does not tell
which request it is to: so one that comes late must not be taken for that to the next.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU

from gateway.core.errors import Unavailable
from gateway.core.settings import duration_text

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what is wrong is told here, once

Encoding = Literal["tcp", "rtu"]

_LONGEST = 1_024  # bytes that are no whole frame yet; one has 260 at most
_LAST_NUMBER = 65_000  # of a request
_ERROR = 0x80
_SILENCE = 3.5  # characters between two frames on a serial line, by the standard
_SHORTEST = 0.00175  # that silence above 19,200 baud (s)
_BITS = 11  # of a character
_CODES = {
    1: "illegal function: it cannot do that",
    2: "illegal data address: it has no such register",
    3: "illegal data value: it does not take that",
    4: "server device failure: it has failed",
    5: "acknowledge: it will take long",
    6: "server device busy",
    7: "negative acknowledge: it cannot do that now",
    8: "memory parity error: its memory is damaged",
    10: "gateway path unavailable: the Modbus gateway is not set up for it",
    11: "gateway target device failed to respond",
}
FUNCTION, ADDRESS, VALUE = 1, 2, 3
"""Exceptions that say that what was asked for is wrong, now and later."""
_AWAY = (10, 11)


class NoAnswer(Unavailable):
    """A unit did not answer."""


class Refused(Unavailable):
    """A unit answered that it does not do that. code: of the Modbus exception."""

    def __init__(self, code: int) -> None:
        super().__init__(_CODES.get(code, f"exception {code}"))
        self.code = code

    @property
    def lasting(self) -> bool:
        """Whether it will say the same again."""
        return self.code in (FUNCTION, ADDRESS, VALUE)


def silence(baudrate: int) -> float:
    """How long a serial line has to be quiet between two frames (s)."""
    return max(_SILENCE * _BITS / baudrate, _SHORTEST)


class Exchange:
    """See the module. write: sends bytes, within so many seconds; raises Unavailable. forget:
    throws away what has come and was not read. pause: how long a serial line is left alone between
    an answer and the next request (s). echo: whether we hear what we send.

    unheard: how many requests in a row nobody answered with a single byte.
    """

    def __init__(
        self,
        encoding: Encoding,
        write: Callable[[bytes, float], Awaitable[None]],
        forget: Callable[[], None],
        pause: float = 0.0,
        echo: bool = False,
    ) -> None:
        decoder = DecodePDU(False)
        self._framer: FramerBase = (
            FramerRTU(decoder) if encoding == "rtu" else FramerSocket(decoder)
        )
        self._numbered = encoding == "tcp"
        self._write = write
        self._forget = forget
        self._pause = pause
        self._echo = echo
        self._turn = asyncio.Lock()
        self._number = 0
        self._request: ModbusPDU | None = None
        self._answer: asyncio.Future[ModbusPDU] | None = None
        self._buffer = b""
        self._expected_echo = b""
        self._odd = 0  # bytes that were no answer
        self._quiet_from = 0.0  # when the last frame was over (s, of the loop)
        # By unit: until when answers to earlier requests may come, and to which request.
        self._late: dict[int, tuple[float, bytes]] = {}
        self.unheard = 0

    async def ask(self, unit: int, request: ModbusPDU, timeout: float) -> ModbusPDU:
        """Send a request when it is its turn, and wait for the answer. Raises NoAnswer, Refused, or
        Unavailable where the line is gone."""
        request.dev_id = unit
        async with self._turn:
            request.transaction_id = self._next_number()
            frame = self._framer.buildFrame(request)
            await self._settled(unit, frame)
            answer = await self._answered(unit, request, frame, timeout)
        if answer.function_code & _ERROR:
            if answer.exception_code in _AWAY:
                raise NoAnswer(_CODES[answer.exception_code])
            raise Refused(answer.exception_code)
        return answer

    def heard(self, data: bytes) -> None:
        """Bytes from the line."""
        self.unheard = 0
        self._quiet_from = asyncio.get_running_loop().time()
        if self._answer is None or self._answer.done():
            return
        self._buffer += data
        if not self._without_echo():
            return
        while self._buffer:
            try:
                used, found = self._framer.handleFrame(self._buffer, 0, 0)
            except ModbusException:
                used, found = len(self._buffer), None
            if not used:
                break
            self._buffer = self._buffer[used:]
            if found is not None and self._fits(found):
                self._answer.set_result(found)
                return
            self._odd += used
        if len(self._buffer) > _LONGEST:
            self._odd += len(self._buffer)
            self._buffer = b""

    def fail(self, reason: str) -> None:
        """The line is gone: there will be no answer to what was asked."""
        self.unheard = 0
        self._late.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable(reason))

    def _next_number(self) -> int:
        self._number = self._number % _LAST_NUMBER + 1
        return self._number if self._numbered else 0

    async def _settled(self, unit: int, frame: bytes) -> None:
        """Wait until the line may be used, and until no answer to another request can come from
        this unit any more."""
        loop = asyncio.get_running_loop()
        until, asked = self._late.get(unit, (0.0, b""))
        # The same request again may well be answered by the answer to the first.
        until = 0.0 if self._numbered or asked == frame else until
        ready = max(self._quiet_from + self._pause, until)
        if (wait := ready - loop.time()) > 0:
            await asyncio.sleep(wait)

    async def _answered(
        self, unit: int, request: ModbusPDU, frame: bytes, timeout: float
    ) -> ModbusPDU:
        loop = asyncio.get_running_loop()
        self._forget()
        again = loop.time() < self._late.pop(unit, (0.0, b""))[0]
        latest = loop.time() + 2 * timeout  # when the answer to this one may come, however late
        self._buffer, self._odd = b"", 0
        self._expected_echo = frame if self._echo else b""
        answer: asyncio.Future[ModbusPDU] = loop.create_future()
        self._request, self._answer = request, answer
        try:
            await self._write(frame, timeout)
            async with asyncio.timeout(timeout):
                found = await answer
            if again:  # this may have been the answer to the one before, and another is to come
                self._late[unit] = (latest, b"")
            return found
        except asyncio.CancelledError:
            self._late[unit] = (latest, b"")  # the answer comes all the same
            raise
        except TimeoutError:
            # Where the loop was held up, what came in time was read late.
            if answer.done() and not answer.cancelled() and not answer.exception():
                return answer.result()
            self.unheard += 1
            self._late[unit] = (latest, frame)
            raise NoAnswer(self._why(timeout)) from None
        finally:
            self._request = self._answer = None

    def _why(self, timeout: float) -> str:
        if self._odd or self._buffer:
            fix = "see that baudrate, parity and wiring are right, and every address is there once"
            return f"what came within {duration_text(timeout)} was no answer: {fix}"
        return f"no answer within {duration_text(timeout)}"

    def _without_echo(self) -> bool:
        """Take what we sent out of what came; whether there is nothing more of it to come."""
        if self._expected_echo and self._buffer.startswith(self._expected_echo):
            self._buffer = self._buffer[len(self._expected_echo) :]
            self._expected_echo = b""
        return not self._expected_echo or not self._expected_echo.startswith(self._buffer)

    def _fits(self, found: ModbusPDU) -> bool:
        """Whether it is the answer to what was asked."""
        asked = self._request
        if asked is None or found.dev_id != asked.dev_id:
            return False
        if found.transaction_id != asked.transaction_id:
            return False
        if found.function_code & ~_ERROR != asked.function_code:
            return False
        if found.function_code & _ERROR:
            return True
        if asked.function_code in (1, 2):
            return 0 <= len(found.bits) - asked.count < 8
        if asked.function_code in (3, 4):
            return len(found.registers) == asked.count
        return found.address == asked.address
