"""Two clients with one id throw each other out for ever: notice it, and do not fight.

MQTT 5.0 says so (section 3.1.4, reason 0x8E). In MQTT 3.1.1 the broker just closes the connection
soon after it accepted it, again and again.
"""

_STABLE = 10.0  # a connection that held so long was not thrown out at once (s)
_PEACE = 600.0  # one that held so long has no rival (s)
_SUSPECT = 3  # connections that ended at once, from which on a rival is likely
_LONGEST = 60.0
_TAKEN_OVER = "Session taken over"


class Rivals:
    """What the ends of one client's connections tell. fights: how often it was thrown out."""

    def __init__(self, client_id: str) -> None:
        self.fights = 0
        self._client_id = client_id
        self._short = 0
        self._certain = False

    def ended(self, reason: str, said: bool, accepted: bool, lived: float) -> str:
        """A connection ended; why, for people. said: the reason is the broker's own. accepted: it
        had been let in. lived: how long ago it began (s)."""
        if said and reason == _TAKEN_OVER:
            self.fights += 1
            self._certain = True
        elif not accepted and not self._certain:
            self.fights = self._short = 0  # the broker was away: a rival leaves it there
        elif accepted and not said and lived < _STABLE:
            self._short += 1
            self.fights = max(self.fights, self._short - _SUSPECT + 1)
        elif lived > _PEACE:
            self.fights = self._short = 0
            self._certain = False
        elif accepted:
            self._short = 0
        return f"{reason}: {self.concern}" if self.fights and accepted else reason

    @property
    def concern(self) -> str:
        """What is wrong, and the way out; "" while nothing is."""
        if not self.fights:
            return ""
        sure = "" if self._certain else "perhaps "
        return (
            f'{sure}another client uses the client id "{self._client_id}" too; '
            "give each client an id of its own"
        )

    def pause(self) -> float:
        """The least time to wait before the next attempt (s): who fights harder helps nobody."""
        return min(2.0 ** (self.fights - 1), _LONGEST) if self.fights else 0.0
