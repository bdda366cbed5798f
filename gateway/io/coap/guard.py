"""How much one address may ask of a CoAP server, told before a datagram is even parsed.

UDP has no connections: whoever floods costs us a parse, a task and an answer for each datagram,
and may give another's address as the sender, who then gets the answers.
"""

from collections import OrderedDict
from enum import Enum

_ADDRESSES = 10_000
_ANSWERS = 0.1  # of the rate: how many refusals a flooding address is sent


class Verdict(Enum):
    """What becomes of a datagram: it is taken; answered with a refusal; or thrown away unread."""

    TAKE = 0
    REFUSE = 1
    DROP = 2


class Guard:
    """rate: datagrams a second that one address may send for ever, 0 for any number; burst: how
    many at once after it was quiet. dropped: those thrown away.

    For each address the time at which its bucket would be full again (the generic cell rate
    algorithm, ITU-T I.371), and the same for refusals.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self.dropped = 0
        self._rate = rate
        # A hair more: what is just allowed must not be lost to rounding.
        self._slack = (burst + 0.001) / rate if rate else 0.0
        self._full_at: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def verdict(self, address: str, now: float) -> Verdict:
        """A datagram came from an IP address; now: s."""
        if not self._rate:
            return Verdict.TAKE
        taken, refused = self._full_at.pop(address, (now, now))
        after = max(taken, now) + 1 / self._rate
        if after - now <= self._slack:
            self._remember(address, after, refused)
            return Verdict.TAKE
        each = 1 / (self._rate * _ANSWERS)
        later = max(refused, now) + each
        answered = later - now <= max(each, 1.0)
        self._remember(address, taken, later if answered else refused)
        if answered:
            return Verdict.REFUSE
        self.dropped += 1
        return Verdict.DROP

    def _remember(self, address: str, taken: float, refused: float) -> None:
        self._full_at[address] = (taken, refused)
        # Somebody who invents addresses must not fill the memory; who was quiet longest goes.
        if len(self._full_at) > _ADDRESSES:
            self._full_at.popitem(last=False)
