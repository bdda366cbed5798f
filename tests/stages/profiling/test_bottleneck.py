"""The rule by which a stage limits: saturated, and work queues before it. Nothing else does."""

import pytest

from gateway.stages.profiling import Cause, Detector, Look, Span

WITHIN = 3.0


class Line:
    """A stage that is looked at twice a second."""

    def __init__(self, servers: int = 1, least_wait: float | None = None) -> None:
        self.detector = Detector(0.9, WITHIN)
        self.now, self.queue, self.done = 100.0, 0.0, 0
        self.busy = [0.0] * servers
        self._least_wait = least_wait

    def run(self, seconds: float, *loads: float, grows: float = 0.0, done: int = 100) -> list[str]:
        """So busy, with a queue that grows by so much a second; what began to limit meanwhile."""
        began: list[str] = []
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.queue = max(self.queue + grows / 2, 0.0)
            self.done += done // 2
            self.busy = [b + load / 2 for b, load in zip(self.busy, loads, strict=True)]
            look = Look(
                "sink",
                {str(n): busy for n, busy in enumerate(self.busy)},
                self.queue,
                self.done,
                self.cause,
                least_wait=self._least_wait,
            )
            began += [c.kind for c in self.detector.look(self.now, self.now, [look])]
        return began

    def cause(self, span: Span) -> Cause:
        return Cause("sink", "remote", f"waits {span.wait:.1f} s")

    @property
    def limits(self) -> bool:
        return bool(self.detector.found)


def test_saturated_and_its_queue_grows() -> None:
    line = Line()
    assert line.run(10, 0.2) == []
    assert line.run(2.5, 1.0, grows=50) == []
    assert line.run(1.0, 1.0, grows=50) == ["remote"]
    assert line.run(10, 1.0, grows=50) == [], "it is said once"
    assert line.limits


@pytest.mark.parametrize(
    ("load", "grows"),
    [(0.8, 50.0), (1.0, 0.0), (1.0, -50.0)],
    ids=["it is not saturated", "nothing queues", "it catches up"],
)
def test_otherwise_it_does_not(load: float, grows: float) -> None:
    line = Line()
    line.queue = 10_000.0
    assert line.run(20, load, grows=grows) == []


def test_one_saturated_lane_is_enough() -> None:
    line = Line(servers=4)
    assert line.run(5, 1.0, 0.1, 0.1, 0.0, grows=10) == ["remote"]


def test_what_waits_too_long_by_littles_law() -> None:
    line = Line(least_wait=2.0)
    line.queue = 100.0
    assert line.run(5, 1.0, done=100) == [], "1 s of work waits"
    line.queue = 500.0
    assert line.run(5, 1.0, done=100) == ["remote"], "5 s of work wait"


def test_it_ends_soon_after_and_does_not_flicker() -> None:
    line = Line()
    line.run(5, 1.0, grows=50)
    assert line.limits
    line.run(1.0, 0.5, grows=-50)
    assert line.limits
    line.run(5.0, 0.5, grows=-50)
    assert not line.limits
    assert line.run(5, 1.0, grows=50) == ["remote"]


def test_since_when() -> None:
    line = Line()
    line.run(5, 0.1)
    set_in = line.now
    line.run(4, 1.0, grows=50)
    assert line.detector.found[0].since == pytest.approx(set_in, abs=0.6)
