"""What limits, told where one looks: in the health of the part it lies in, as events, to alerts."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.events import Bottleneck
from gateway.core.figures import Figure
from gateway.runtime import meanwhile
from gateway.stages.health import Deduction, Probe, over
from gateway.stages.profiling import Limit

if TYPE_CHECKING:
    from gateway.runtime.house import House

DECODE = "decode"
"""A stage that is a part only to say that it limits."""
_BRIDGE = "deliver:"
_ELSEWHERE = {"loop": ("machine", "the event loop ")}  # stages that are no parts of their own
_STAGES = ("journal", "history", "state", "machine", DECODE)


def part_of(stage: str) -> tuple[str, str]:
    """The kind and the name of the part that a stage of profiling lies in."""
    if stage.startswith(_BRIDGE):
        return "bridge", stage.removeprefix(_BRIDGE)
    return "stage", _ELSEWHERE.get(stage, (stage, ""))[0]


def watch(house: "House", kind: str, name: str, probe: Probe) -> None:
    """Watch the health of a part that may limit."""
    house.health_.register(kind, name, limited(house, kind, name, probe))


def limited(house: "House", kind: str, name: str, probe: Probe) -> Probe:
    """What a part loses points for, and that it limits. That costs only what the part has not lost
    for other reasons, which may be the same trouble; one point at least, so that it is told."""

    def whole() -> Sequence[Deduction] | None:
        found = probe()
        limit = _limit(house, kind, name)
        if limit is None:
            return found
        limits = house.health_.rules.of(f"{kind}/{name}")
        lasts = max(time.monotonic() - limit.since, 0.0)
        who = _ELSEWHERE.get(limit.stage, ("", ""))[1]
        text, doing = f"{who}limits ({limit.cause.kind}): {limit.text}", _doing(house, kind, name)
        own = over(limits, "limiting", lasts, text, doing)
        lost = sum(each.cost for each in found or ())
        return [*(found or ()), *(replace(each, cost=max(each.cost - lost, 1)) for each in own)]

    return whole


def _doing(house: "House", kind: str, name: str) -> str:
    """What is done about a bridge that limits because it does not get through at all."""
    delivery = house.deliveries.get(name) if kind == "bridge" else None
    return meanwhile.of_bridge(delivery) if delivery and delivery.retry.failing else ""


def _limit(house: "House", kind: str, name: str) -> Limit | None:
    limits = house.profiler.limits
    return next((limit for limit in limits if part_of(limit.stage) == (kind, name)), None)


def figures(house: "House") -> Iterator[tuple[str, Figure]]:
    """For each part that may limit: whether it does, otherwise than by not getting through at all;
    that has rules of its own."""
    failing = {name for name, each in house.deliveries.items() if each.retry.failing}
    parts = [("bridge", name) for name in house.deliveries]
    for kind, name in (*parts, *(("stage", name) for name in _STAGES)):
        limit = _limit(house, kind, name)
        limits = limit is not None and not (kind == "bridge" and name in failing)
        yield f"{kind}/{name}", Figure(limits, limit.text if limit is not None else "")


Known = Mapping[tuple[str, str], Limit]
"""What limits, by stage and kind of cause."""


def known(limits: Sequence[Limit]) -> Known:
    """The same, so that it can be compared later."""
    return {(limit.stage, limit.cause.kind): limit for limit in limits}


def changes(before: Known, now: Known) -> Iterator[Bottleneck]:
    """What has ended to limit since then, and what has begun to."""
    for key in before.keys() - now.keys():
        yield _event(before[key], over=True)
    for key in now.keys() - before.keys():
        yield _event(now[key])


def _event(limit: Limit, *, over: bool = False) -> Bottleneck:
    kind, name = part_of(limit.stage)
    return Bottleneck(
        kind=kind, name=name, stage=limit.stage, cause=limit.cause.kind, text=limit.text, over=over
    )
