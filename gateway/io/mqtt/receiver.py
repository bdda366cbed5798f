"""What one source is sent, as bursts: sorted, marked, handed over, acknowledged once stored."""

import time
from collections.abc import Callable
from functools import partial

from gateway.core.contracts import Burst, Outcome, Stored, boottime
from gateway.io.mqtt.backlog import Backlog
from gateway.io.mqtt.bulk import BulkClient
from gateway.io.mqtt.handover import Handover
from gateway.io.mqtt.sieve import DUP, RETAIN, Sieve
from gateway.io.mqtt.splitter import FORWARDED, Frames
from gateway.io.mqtt.window import Window

_PATIENCE = 0.2  # of the time until a commit, what may be spent on gathering
_FEW = 200  # a broker that waits for us after fewer than this would be slowed down by gathering
_MANY = 1_000  # messages beyond which handling them together costs no less


class Receiver:
    """All but acknowledging in the network thread. own, echo, seed, heard: see Sieve; gather: the
    longest a reading waits for its commit, at the moment (s). seen: messages that came."""

    def __init__(
        self,
        own: bytes,
        echo: bytes,
        seed: Callable[[str, bytes], None],
        heard: Callable[[], None],
        gather: Callable[[], float],
    ) -> None:
        self.handover = Handover()
        self.window = Window(late=self.patience)
        self.sieve = Sieve(own, echo, lambda: self.handover.full, seed, heard)
        self.seen = 0
        self._gather = gather
        self._backlog = Backlog()
        self._renewed = False

    def patience(self) -> float:
        """How long data may gather before it is read (s)."""
        limit = self.window.limit
        if limit is not None and limit < _FEW:
            return 0.0
        return self._gather() * _PATIENCE

    def worth(self) -> int:
        """How many messages are worth waking up for: fewer than the broker has let wait for us
        already, or it would stop; where acknowledgements do not wait for others, few."""
        return max(_FEW, min(_MANY, self.window.most * 2 // 3))

    def connected(self, session_present: bool) -> None:
        """The broker has let us in; session_present: it knew us."""
        self._backlog.connected(session_present)
        self._renewed = self._renewed or not session_present

    def frames(self, client: BulkClient, frames: Frames, generation: int) -> None:
        """Take what was read at once."""
        received, moment = time.time_ns(), boottime()
        late = self._backlog.late()
        heads = set(frames.heads)
        marked = max(heads, default=0) >= FORWARDED
        odd = marked or any(head & RETAIN for head in heads)
        frames, topics, unwanted = self.sieve.sorted(frames, odd)
        if unwanted:
            client.acknowledge(unwanted, generation)
        if not frames.payloads:
            return
        self.seen += len(frames.payloads)
        acknowledged = frames.packet_ids
        if 0 in acknowledged:
            acknowledged = [packet_id for packet_id in acknowledged if packet_id]
        burst = Burst(
            received,
            topics,
            frames.payloads,
            frames.packet_ids if acknowledged else (),
            self._repeats(frames, heads) if acknowledged else (),
            # The client is kept with its generation: another one counts from the start again.
            on_done=partial(self._done, client, acknowledged, generation) if acknowledged else None,
            urgent=bool(acknowledged) and self.window.arrived(len(acknowledged)),
            late=late,
            waited=client.waited,
            boottime=moment,
            renewed=self._renewed and bool(acknowledged),
            forwarded=[bool(head & FORWARDED) for head in frames.heads] if marked else (),
        )
        self._renewed = self._renewed and not acknowledged
        self.handover.put(burst)
        self.handover.hold()

    def _repeats(self, frames: Frames, heads: set[int]) -> list[bool]:
        if any(head & DUP for head in heads):
            return [bool(head & DUP) for head in frames.heads]
        return [False] * len(frames.heads)

    def _done(
        self, client: BulkClient, packet_ids: list[int], generation: int, outcome: Outcome
    ) -> None:
        """On the loop."""
        if isinstance(outcome, Stored):
            self.window.acknowledged(len(packet_ids))
            client.acknowledge(packet_ids, generation)
