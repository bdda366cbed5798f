"""What every request meets first. Probes are answered here; the API behind it is loaded when
somebody asks for more: where nobody does it only took memory, and it made every start longer.
"""

import asyncio
import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.core.collector import keep
from gateway.web.house import House
from gateway.web.plain import Plain, plain_problem
from gateway.web.probes import Probes

log = logging.getLogger(__name__)


class Front:
    """See the module. load: makes the application for everything else; called once, in a thread."""

    def __init__(self, house: House, load: Callable[[], ASGIApp]) -> None:
        probes = Probes(house)
        self._probes: dict[str, Callable[[], Plain]] = {
            "/healthz": probes.alive,
            "/readyz": probes.ready,
            "/metrics": probes.metrics,
        }
        self._load = load
        self._whole: ASGIApp | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        app: ASGIApp
        try:
            app = self._probe(scope) or await self._application()
        except Exception:
            # The edge: what breaks here is one request's trouble.
            log.exception("http: %s failed", scope["path"])
            app = plain_problem(500, "the gateway failed on this request; its log says why")
        await app(scope, receive, send)

    def _probe(self, scope: Scope) -> Plain | None:
        """The answer to a probe that is asked as it should be; what is wrong with another is for
        the application to say."""
        if scope["method"] != "GET" or scope["query_string"]:
            return None
        probe = self._probes.get(scope["path"])
        return probe() if probe is not None else None

    async def _application(self) -> ASGIApp:
        async with self._loading:
            if self._whole is None:
                # It takes a second or two on a small machine, and readings come in meanwhile.
                self._whole = await asyncio.to_thread(self._load)
                keep()
            return self._whole
