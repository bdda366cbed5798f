"""The error tree. An error's class says what happens next, so nobody has to read its text.

BerrygateError
├── ConfigError        refuse to start, or keep the running configuration
├── Unavailable        reconnect and try again, with growing pauses
│   └── Throttled      the same, but not before `after` seconds
├── Denied             stop this part and show it: trying again will not help
├── Rejected           dead-letter these, the rest was taken
├── Unknown            try again a few times, then find out whether a record is to blame
├── Conflict           what was asked does not fit the state things are in
└── DecodeError        count it, keep the frame as a dead letter, acknowledge it
"""

from collections.abc import Mapping, Sequence

from gateway.core.secrecy import concealed


class BerrygateError(Exception):
    """Root of everything Berrygate raises on purpose.

    `fix`, where it is known, is one imperative sentence for the user. attempts: how many were made
    before it was raised, where one endpoint after another was tried.
    """

    attempts = 1

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix

    def __str__(self) -> str:
        # What others said is part of many a message, and may hold what we said to them.
        return concealed(super().__str__())


class ConfigError(BerrygateError):
    """The configuration, or what it names on this machine, cannot be used."""


class Unavailable(BerrygateError):
    """The other side cannot be reached or did not answer in time: try again later."""


class Throttled(Unavailable):
    """The other side asks for a pause of at least `after` seconds (HTTP 429/503 Retry-After)."""

    def __init__(self, message: str, *, after: float, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.after = after


class Denied(BerrygateError):
    """Credentials or permissions are wrong: stop this part, show it, keep its data."""


class Rejected(BerrygateError):
    """Some records of a batch were refused for what they are; the rest was taken.

    `indices` are positions in the batch that was sent. None means that the whole batch was
    refused and the other side did not say which records are to blame: nothing was taken, and
    the batch is bisected. `reasons`: why, by position, where that differs from the message.
    """

    def __init__(
        self,
        message: str,
        *,
        indices: Sequence[int] | None = None,
        reasons: Mapping[int, str] | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, fix=fix)
        self.indices = indices
        self.reasons = reasons or {}


class Unknown(BerrygateError):
    """A driver failed in a way that it should not: nobody knows whether the other side, the data or
    the driver is to blame. Raised around drivers, never by them."""


class Conflict(BerrygateError):
    """What somebody asked for does not fit the state things are in; nothing was changed."""


class DecodeError(BerrygateError):
    """A payload could not be turned into readings. `reason` is a short stable word for counting."""

    def __init__(self, message: str, *, reason: str = "malformed", fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.reason = reason
