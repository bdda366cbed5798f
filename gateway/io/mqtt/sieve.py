"""What a broker sends that is no reading, sorted out of what is: last states, what is our own, and
what there is no room for."""

from collections import Counter
from collections.abc import Callable

from gateway.io.mqtt.splitter import FORWARDED, OWN, Frames

RETAIN, QOS, DUP = 0x01, 0x06, 0x08
"""In a frame's head."""
_TOPICS = 20_000  # topics whose text is remembered
_LONG = 1_024  # bytes of a topic; longer ones are not remembered


class Sieve:
    """For one source. own: what topics that are the gateway's own begin with; echo: the one of
    these by which the source hears itself, told by `heard`. full: whether there is no room.
    seed: told the topic and payload of a last state.

    retained: messages that told a last state; ignored: messages of our own root and bridges;
    dropped: what had to go, by reason.
    """

    def __init__(
        self,
        own: bytes,
        echo: bytes,
        full: Callable[[], bool],
        seed: Callable[[str, bytes], None],
        heard: Callable[[], None],
    ) -> None:
        self.retained = 0
        self.ignored = 0
        self.dropped: Counter[str] = Counter()
        self._own = own
        self._echo = echo
        self._full = full
        self._tell_seed = seed
        self._tell_heard = heard
        self._names: dict[bytes, str] = {}

    def sorted(self, frames: Frames, odd: bool) -> tuple[Frames, list[str], list[int]]:
        """Those that are readings, their topics as text, and the packet ids of the others, which
        are done with. odd: whether a head marks one as a last state or as bridged."""
        known = self._names.get
        names = list(map(known, frames.topics))
        # Filtered only when there is something to filter: a burst is nearly always plain.
        if all(names) and not odd and not self._full():
            return frames, names, []  # type: ignore[return-value]
        frames, unwanted = self._filtered(frames)
        return frames, [known(topic) or self._name(topic) for topic in frames.topics], unwanted

    def _filtered(self, frames: Frames) -> tuple[Frames, list[int]]:
        unwanted: list[int] = []
        if any(head & RETAIN for head in frames.heads):
            frames, seeds = frames.without(self._seed)
            unwanted += seeds
        if any(topic.startswith(self._own) for topic in frames.topics):
            frames, own = frames.without(self._ignore)
            unwanted += own
        if max(frames.heads, default=0) >= FORWARDED:
            frames, own = frames.without(self._ignore_bridged)
            unwanted += own
        if self._full():
            frames, _ = frames.without(self._overload)
        return frames, unwanted

    def _seed(self, topic: bytes, payload: bytes, head: int) -> bool:
        """A retained message tells the last state of a device and is no new reading."""
        if not head & RETAIN:
            return False
        self.retained += 1
        if not topic.startswith(self._own):
            self._tell_seed(self._name(topic), payload)
        return True

    def _ignore(self, topic: bytes, payload: bytes, head: int) -> bool:
        """What the gateway itself publishes never comes back in."""
        own = topic.startswith(self._own)
        if own and topic == self._echo:
            self._tell_heard()
        else:
            self.ignored += own
        return own

    def _ignore_bridged(self, topic: bytes, payload: bytes, head: int) -> bool:
        """Neither does what its own mqtt bridges send."""
        own = bool(head & OWN)
        self.ignored += own
        return own

    def _overload(self, topic: bytes, payload: bytes, head: int) -> bool:
        """QoS 0 has no window that would hold its sender back: the newest goes."""
        lost = not head & QOS
        self.dropped["overload"] += lost
        return lost

    def _name(self, topic: bytes) -> str:
        name = topic.decode("utf-8", "replace")
        # A long one is refused anyway: 20,000 of 64 kB would be more than a Pi has. One of our
        # own is looked at each time: whoever is remembered passes.
        if len(topic) > _LONG or topic.startswith(self._own):
            return name
        if len(self._names) >= _TOPICS:
            self._names.clear()
        self._names[topic] = name
        return name
