"""Requests over a line, one at a time, and the frame that answers each."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.core.errors import Unavailable
from gateway.core.settings import duration_text

Fits = Callable[[bytes], bool]
"""Whether a frame is the answer that is waited for."""


class Asking:
    """See the module. write: sends bytes, within so many seconds; raises Unavailable."""

    def __init__(self, write: Callable[[bytes, float], Awaitable[None]]) -> None:
        self._write = write
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[bytes] | None = None
        self._fits: Fits = bool

    async def ask(
        self, request: bytes, fits: Fits, timeout: float, before: Callable[[], None] = lambda: None
    ) -> bytes:
        """Send `request` when it is its turn, and wait for a frame that fits. before: called just
        before it is sent. Raises Unavailable."""
        async with self._turn:
            before()
            self._answer, self._fits = asyncio.get_running_loop().create_future(), fits
            try:
                await self._write(request, timeout)
                async with asyncio.timeout(timeout):
                    return await self._answer
            except TimeoutError:
                raise Unavailable(f"no answer within {duration_text(timeout)}") from None
            finally:
                self._answer = None

    async def send(self, request: bytes, timeout: float) -> None:
        """Send something that nobody answers, when it is its turn. Raises Unavailable."""
        async with self._turn:
            await self._write(request, timeout)

    def take(self, frame: bytes) -> bool:
        """Whether this frame is the answer; then it has been handed over."""
        answer = self._answer
        if answer is None or answer.done() or not self._fits(frame):
            return False
        answer.set_result(frame)
        return True

    def fail(self, reason: str) -> None:
        """There will be no answer to what was asked."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable(reason))
