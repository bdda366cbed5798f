"""The HTTP server: uvicorn, inside the gateway's own event loop."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from starlette.types import ASGIApp
from uvicorn import Config, Server

from gateway.core.errors import ConfigError
from gateway.web.connections import Bounded
from gateway.web.front import Front
from gateway.web.guard import Guard
from gateway.web.house import House

log = logging.getLogger(__name__)

_MAX_BODY = 64 * 1024
_GRACE = 1  # seconds that a request in progress may still take when the server stops
_STARTING = 0.005


class _Server(Server):
    """Uvicorn that leaves signals to the gateway, for it would end the loop under everyone else,
    and that is woken for its end: it would look ten times a second whether that has come, which is
    most of what an idle gateway costs."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._ending.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Until the end; once a second the time in the answers' headers is renewed."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1.0)


def build(house: House, *, allowed_hosts: Iterable[str] = (), max_body: int = _MAX_BODY) -> ASGIApp:
    """What answers every request to `house`."""

    def load() -> ASGIApp:
        from gateway.web.application import application

        return application(house)

    return Guard(Front(house, load), allowed_hosts, max_body)


async def serve(house: House, host: str, port: int, *, allowed_hosts: Iterable[str] = ()) -> None:
    """Serve until cancelled. Raises ConfigError where the address cannot be had."""
    async with serving(house, host, port, allowed_hosts=allowed_hosts) as (_, task):
        await asyncio.wait([task])
        task.result()


@asynccontextmanager
async def serving(
    house: House, host: str, port: int, *, allowed_hosts: Iterable[str] = ()
) -> AsyncIterator[tuple[int, asyncio.Task[None]]]:
    """A server while inside: (its port, which matters where `port` is 0; the task that serves).

    Raises ConfigError where the address cannot be had.
    """
    listener = _listen(host, port)
    bound: int = listener.getsockname()[1]
    config = Config(
        build(house, allowed_hosts=allowed_hosts),
        http=Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here trusts a client's word on who it is
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not (server.started or task.done()):  # noqa: ASYNC110  uvicorn has no event
            await asyncio.sleep(_STARTING)
        log.info("http: listening on %s", _url(host, bound))
        yield bound, task
    finally:
        server.end()
        await asyncio.wait([task])
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    where = f"api.host {host!r}, api.port {port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        dual = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=1024)
    except OSError as error:
        fix = "set api.host to an address of this machine, api.port to a port it may open"
        if error.errno == errno.EADDRINUSE:
            fix = "set api.port to a free port, or stop what uses this one"
        raise ConfigError(f"cannot listen on {where}: {error.strerror}", fix=fix) from error


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
