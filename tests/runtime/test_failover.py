"""While a bridge cannot reach its server its readings go out through another one, if it has one."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway.core.contracts import Flag
from gateway.core.errors import Denied, Unavailable
from gateway.core.settings import BridgeSettings
from gateway.runtime.delivery import Delivery
from gateway.stages.profiling import Profiler
from tests.support.delivering import QUICK, Work, delivering, now_numbered
from tests.support.journal import publish
from tests.support.sink import Sink

RETRY = {
    "base": "10ms", "max": "50ms", "failover": "spare", "failover_after": "200ms",
    "breaker": {"reset": "50ms"},
}  # fmt: skip


class Spare(Sink):
    """The other server."""

    name = "spare"


async def with_spare(work: Work, sink: Sink, spares: dict[str, Delivery]) -> Delivery:
    """Another bridge on the same bus, which takes no readings of its own."""
    settings = BridgeSettings.model_validate({"type": "test", **QUICK, "devices": ["!*"]})
    profiler = Profiler(CollectorRegistry())
    clock = work.delivery._lanes._clock
    spare = Delivery(sink, settings, work.bus, work.letters, profiler, clock)
    await spare.subscribe()
    spares["spare"] = spare
    return spare


async def test_the_other_bridge_stands_in_and_both_count_it(tmp_path: Path) -> None:
    sink, other, spares = Sink(), Spare(), dict[str, Delivery]()
    async with delivering(tmp_path, sink, spares, retry=RETRY) as work:
        spare = await with_spare(work, other, spares)
        await publish(work.bus, now_numbered(0, 10))
        await work.settled()
        sink.fails = Unavailable("away")
        await publish(work.bus, now_numbered(10, 30))
        await work.until(lambda: work.delivery.state == "failing")
        assert other.taken == []  # it may be over in a moment
        await work.settled()
        assert sorted(other.numbers()) == list(range(10, 30))
        shown = work.delivery.as_dict()
        assert (shown["state"], shown["last_error"]) == ("failed over", "away")
        assert work.ledger["dropped"] == {"failover": 20}
        assert work.ledger["delivered"] == 10
        assert spare.as_dict()["stood_in"] == 20
        assert spare.as_dict()["ledger"]["difference"] == 0
        sink.fails = None
        await work.until(lambda: work.delivery.pool.breaker.remaining == 0)
        await publish(work.bus, now_numbered(30, 31))  # the others of a trial still go elsewhere
        await work.settled()
        assert work.delivery.state == "running"
        await publish(work.bus, now_numbered(31, 50))
        await work.settled()
        assert sorted(sink.numbers()) == [*range(10), *range(30, 50)]
        assert (shown["troubles"]["outages"], shown["troubles"]["since"] is None) == (0, False)
        found = work.delivery.as_dict()["troubles"]
        assert (found["outages"], found["unaided"], found["since"]) == (1, 1, None)


async def test_nothing_goes_where_it_must_not_or_cannot(tmp_path: Path) -> None:
    """The other one is paused, or away, or must not have it: then the readings wait."""
    sink, other, spares = Sink(), Spare(), dict[str, Delivery]()
    other.leaves_out = Flag.FORWARDED  # type: ignore[attr-defined]
    sink.fails = Denied("wrong token")
    forwarded = now_numbered(0, 1)
    forwarded[0].flags = int(Flag.FORWARDED)
    async with delivering(tmp_path, sink, spares, retry=RETRY) as work:
        spare = await with_spare(work, other, spares)
        await publish(work.bus, forwarded)
        await work.until(lambda: sink.requests > 10)
        assert work.ledger["pending"] == 1
        await spare.pause()
        await publish(work.bus, now_numbered(1, 20))
        asked = sink.requests
        await work.until(lambda: sink.requests > asked + 5)
        assert work.ledger["pending"] == 20
        await spare.resume()
        other.fails = Unavailable("away, too")
        asked = other.requests
        await work.until(lambda: other.requests > asked + 2)
        assert work.ledger["pending"] == 20
        assert work.delivery.state == "denied"
        sink.fails = None
        await work.settled()
        assert other.taken == []
        assert work.ledger["delivered"] == 20


async def test_what_the_other_one_refuses_is_a_dead_letter_of_the_first(tmp_path: Path) -> None:
    sink, other, spares = Sink(), Spare(), dict[str, Delivery]()
    sink.fails = Unavailable("away")
    other.refuses = lambda reading: reading.values["n"] == 7
    async with delivering(tmp_path, sink, spares, retry=RETRY) as work:
        await with_spare(work, other, spares)
        await publish(work.bus, now_numbered(0, 20))
        await work.settled()
        assert sorted(other.numbers()) == [n for n in range(20) if n != 7]
        assert (work.ledger["dropped"], work.ledger["dead_lettered"]) == ({"failover": 19}, 1)
