"""How one source stands with its broker, and what people and the bus are told of it."""

import logging
from collections.abc import Callable

from gateway.core.contracts import Endpoint
from gateway.core.events import Connected, Disconnected, Event, Failed
from gateway.io.mqtt.canary import DEAF

_DENIALS = ("Not authorized", "Bad user name or password", "Banned", "Bad authentication method")


class Standing:
    """All in the network thread. trouble: why nothing can be heard at the moment, or "". denied:
    whether a person must act first. name: the source's; log, emit: who is told."""

    def __init__(
        self, name: str, endpoint: Endpoint, log: logging.Logger, emit: Callable[[Event], None]
    ) -> None:
        self.trouble = "connecting"
        self.denied = False
        self._name = name
        self._endpoint = endpoint
        self._log = log
        self._emit = emit
        self._told = False
        self._refusal = ""
        self._forgotten = False

    def refused(self, reason: str) -> bool:
        """The broker has not let us in, and ends the connection now; whether a person must act
        first."""
        self._refusal = reason
        return reason in _DENIALS

    def accepted(self, forgotten: bool) -> None:
        """The broker has let us in. forgotten: it knew nothing of us."""
        self._forgotten = forgotten
        self._told = False

    def deny(self, reason: str) -> None:
        """The broker lets us hear nothing."""
        before, self.trouble, self.denied = self.trouble, reason, True
        if before != reason:
            self._log.error("device %s: %s", self._name, reason)
            self._emit(Failed(kind="device", name=self._name, error="denied", reason=reason))

    def hearing(self, trouble: str) -> None:
        """We are subscribed; told once a connection, and again once it was in trouble."""
        before, self.trouble = self.trouble, trouble
        if trouble or (self._told and not before):
            return
        self._told = True
        host, forgotten = self._endpoint.host, self._forgotten
        if before:
            self._log.info("device %s: connected to %s:%d", self._name, host, self._endpoint.port)
        self._forgotten = False
        self._emit(Connected(kind="device", name=self._name, detail=host, forgotten=forgotten))

    def deaf(self) -> None:
        """What we publish to ourselves does not come back."""
        self.trouble = DEAF
        self._log.error("device %s: %s; subscribing again", self._name, DEAF)
        self._emit(Failed(kind="device", name=self._name, error="deaf", reason=DEAF))

    def lost(self, reason: str) -> None:
        """There is no connection, or again none."""
        reason, self._refusal = self._refusal or reason, ""
        before, self.trouble = self.trouble, reason
        self.denied = reason in _DENIALS
        if not before:
            self._log.warning("device %s: connection lost: %s", self._name, reason)
            self._emit(Disconnected(kind="device", name=self._name, reason=reason))
        elif before != reason:
            self._log.warning(
                "device %s: no connection to %s:%d: %s",
                self._name, self._endpoint.host, self._endpoint.port, reason,
            )  # fmt: skip
        if self.denied and before != reason:
            self._emit(Failed(kind="device", name=self._name, error="denied", reason=reason))
