"""Sending through Apprise: any of its services, in a thread, with a time limit."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from gateway.alerts.guard import Guarded, Network, guarded
from gateway.config.alerting import ChannelSettings
from gateway.core.errors import BerrygateError, ConfigError, Denied, Unavailable
from gateway.core.secrecy import concealed_line
from gateway.io.blocking import Blocking

_TYPES = {"info": "info", "warning": "warning", "critical": "failure", "resolved": "success"}
_LONGEST = 500  # characters of a reason that are shown


class Channel(Protocol):
    """Somebody who can be told. name: its own; service: by what."""

    name: str
    service: str

    async def send(self, title: str, body: str, kind: str) -> None:
        """Returns once it was taken. kind: a severity, or resolved. Raises Unavailable, Denied."""
        ...


class AppriseChannel:
    """See the module. allowed: private networks that it may be in all the same."""

    def __init__(
        self, settings: ChannelSettings, threads: Blocking, allowed: Sequence[Network] = ()
    ) -> None:
        self.name = settings.name
        self.service = settings.url.get_secret_value().partition("://")[0].lower()
        self._settings = settings
        self._threads = threads
        self._allowed = allowed

    async def send(self, title: str, body: str, kind: str) -> None:
        """See Channel."""
        timeout = self._settings.timeout
        try:
            await self._threads.call(partial(self._send, title, body, kind), timeout)
        except TimeoutError as error:
            raise Unavailable(f"{self.service}: no answer within {timeout:g} s") from error

    def _send(self, title: str, body: str, kind: str) -> None:
        """In a thread. The service's object is made anew each time: one that is kept sleeps
        between two messages."""
        with self._guard() as guard, _said() as said:
            try:
                taken = self._made()(title, body, _TYPES[kind])
            except BerrygateError:
                raise
            except Exception as error:  # noqa: BLE001 - see below
                # The edge to 130 services that others wrote: whatever one raises, it was not sent.
                taken, said = False, [*said, f"{type(error).__name__}: {error}"]
        if guard is not None and guard.refused:
            raise Denied(
                f"{self.service}: not connected to, for {guard.refused}",
                fix="allow_private: true on this channel, if that is meant",
            )
        if not taken:
            reason = said[-1] if said else "not taken, and the service does not say why"
            raise Unavailable(f"{self.service}: {concealed_line(reason)[:_LONGEST]}")

    def _made(self) -> Callable[[str, str, str], bool]:
        try:
            import apprise
            import apprise.conversion
        except ImportError as error:
            command = "pip install berrygate[alerts]"
            raise ConfigError(f"channels need: {command}", fix=command) from error
        service = apprise.Apprise.instantiate(self._settings.url.get_secret_value())
        if service is None:
            raise Denied(f"{self.service}: the address of this channel cannot be used")
        for limit in ("socket_connect_timeout", "socket_read_timeout"):
            if limit not in vars(service):  # else the address says so: cto=, rto=
                # Its own 4 s are too short for a slow server, which would be told again and again.
                setattr(service, limit, self._settings.timeout)

        def notify(title: str, body: str, kind: str) -> bool:
            # Not through an Apprise object: it hands the work to threads that it shares.
            text, wanted = apprise.NotifyFormat.TEXT, service.notify_format
            shown = apprise.conversion.convert_between(text, wanted, body)
            return bool(
                service.notify(body=shown, title=title, notify_type=apprise.NotifyType(kind))
            )

        return notify

    @contextmanager
    def _guard(self) -> Iterator[Guarded | None]:
        if self._settings.allow_private:
            yield None
            return
        with guarded(self._allowed) as guard:
            yield guard


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Apprise says of failures in this thread; it gives no reason otherwise."""
    handler = _Here()
    logger = logging.getLogger("apprise")
    logger.propagate = False  # it would say each attempt; a lane says each outage
    logger.addHandler(handler)
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)


class _Here(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: Any) -> None:
        """Keep it, if it was said in our thread."""
        if record.thread == self._thread:
            self.said.append(record.getMessage())
