"""How often each device may speak: a bucket of tokens each, looked at once a burst.

The generic cell rate algorithm (ITU-T I.371): instead of tokens, the time at which a bucket would
be full again, so that one number a device is all there is to keep.
"""

from collections import Counter
from collections.abc import Iterable


class Rates:
    """rate: messages a second that a device may send for ever; burst: how many it may send at once
    after it was quiet. Keys are device ids, of which there are not more than devices."""

    def __init__(self, rate: float, burst: int) -> None:
        self._each = 1.0 / rate
        self._slack = burst / rate
        self._full_at: dict[str, float] = {}

    def left(self, counts: Iterable[tuple[str, int]], now: float) -> dict[str, int]:
        """For each device that is over its rate: how many of its messages may still pass. Nearly
        always nothing. counts: (device, messages in this burst), each device once; now: s."""
        over: dict[str, int] = {}
        full_at, each = self._full_at, self._each
        latest = now + self._slack
        for device, count in counts:
            before = full_at.get(device, 0.0)
            start = before if before > now else now
            after = start + count * each
            if after > latest:
                # Half a message more: what is just allowed must not be lost to rounding.
                over[device] = allowed = max(int((latest - start) / each + 0.5), 0)
                after = start + allowed * each
            full_at[device] = after
        return over


def is_over(left: dict[str, int], device: str, over: Counter[str]) -> bool:
    """Whether this message is one too many; counted in `over`, or taken off `left`."""
    passing = left.get(device)
    if passing is None:
        return False
    if passing:
        left[device] = passing - 1
        return False
    over[device] += 1
    return True
