"""Tells a quiet subscription from a deaf one.

A broker may keep a connection and answer every ping, and yet deliver nothing: rules that were
changed, a proxy that lost its mind, a subscription that is gone. So now and then we publish a
message of our own, which must come back over the same connection. Where the broker forbids that,
we can only subscribe again and look at its answer; `watch` says which it is.
"""

import time
from collections.abc import Callable
from typing import Literal

Action = Literal["", "send", "again", "subscribe", "reconnect"]
"""What to do now: nothing; publish the canary; subscribe to everything again and publish it;
subscribe again only; connect anew."""

DEAF = "subscription is deaf: what we publish to ourselves does not come back"
_PATIENCE = 15.0  # how long it may take to come back (s)
_TRIES = 2  # a canary that never came back at all was never allowed to


class Canary:
    """The state of one source's. every: seconds between two; 0: none is sent. deaf: the last did
    not come back, although earlier ones did. forbidden: why none is sent, or ""."""

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.deaf = False
        self.forbidden = ""
        self._every = every
        self._patience = min(_PATIENCE, every)
        self._clock = clock
        self._proven = False
        self._misses = 0
        self._renew = False
        self._sent_at: float | None = None
        self._next_at = 0.0
        self._seen = 0

    @property
    def watch(self) -> str:
        """How the subscription is watched: off, canary, or subscribing again."""
        if not self._every:
            return "off"
        blind = self.forbidden or (not self._proven and self._misses >= _TRIES)
        return "subscribing again" if blind else "canary"

    def connected(self) -> None:
        """The connection is a new one."""
        self._sent_at = None
        self._renew = self._renew and self.deaf
        self._next_at = self._clock() + (self._patience / 4 if self.deaf else self._every)

    def lost(self) -> None:
        """The connection ended."""
        if self._sent_at is not None and not self._proven:
            # Some brokers throw out whoever publishes what it may not. Never again.
            self.forbidden = "the broker ends the connection over it"
        self._sent_at = None

    def refused(self, reason: str) -> None:
        """The broker said no to it."""
        self.forbidden, self._sent_at = reason, None
        self._misses, self.deaf = 0, False

    def heard(self) -> bool:
        """It came back; True if that is news. What was sent to deaf ears meanwhile is sent again
        on another connection only, so that is what is due next."""
        news, self.deaf = self.deaf, False
        self._renew = self._renew or news
        self._proven, self._misses, self._sent_at = True, 0, None
        return news

    def due(self, seen: int, held: bool, covered: bool) -> Action:
        """What to do now; to be called often.

        seen: messages that came so far. held: we have not acknowledged all of them, so the broker
        may be waiting for us. covered: other messages tell as much as the canary.
        """
        now = self._clock()
        if not self._every:
            return ""
        if self._renew and not self.deaf:
            return "reconnect"
        if self._sent_at is not None:
            return self._waiting(now, seen, held) if now - self._sent_at > self._patience else ""
        if now < self._next_at:
            return ""
        self._next_at = now + self._every
        if self.forbidden:
            return "subscribe"
        if covered and seen != self._seen and not self.deaf:
            self._seen = seen
            return ""
        self._sent_at, self._seen = now, seen
        return "again" if self._misses else "send"

    def _waiting(self, now: float, seen: int, held: bool) -> Action:
        if held:
            self._sent_at = now  # it stands behind what we are given, and that is our own doing
            return ""
        self._sent_at, self._next_at = None, now + self._every
        if seen != self._seen:
            return ""
        self._misses += 1
        if not self._proven:
            return ""
        self.deaf = True
        if self._misses == 1:
            self._next_at = now
        elif self._misses & (self._misses - 1) == 0:
            return "reconnect"  # at the 2nd, 4th, 8th …: it may be no use
        return ""
