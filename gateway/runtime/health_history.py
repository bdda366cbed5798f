"""What is answered when somebody asks how a part of the gateway was."""

from collections.abc import Sequence
from typing import Any

from gateway.stages.health import Health, Level
from gateway.store.health import WHOLE, HealthHistory, Stay, thinned

Point = list[Any]
"""[epoch ms, score, level, what cost it most]; score None and level UNKNOWN: from here on nobody
knew."""


async def points(
    health: Health, log: HealthHistory, part: str, start: int, end: int, most: int | None
) -> list[Point]:
    """How `part`, `<kind>/<name>`, was in [start, end), ns: a point where it changes, or with
    `most` the worst of each of so many equal stretches. Raises LookupError, sqlite3.Error."""
    known = part == WHOLE or part in health.components
    known = known or part.removeprefix("device/") in health.devices
    if not known and part not in await log.parts():
        raise LookupError(f'no part "{part}"; see /api/v1/health for those there are')
    begin, finish = start // 1_000_000, end // 1_000_000
    stays = await log.of(part, begin, finish)
    if most is None:
        return list(_changes(stays, finish))
    width = (finish - begin) / most
    return [
        _point(round(begin + place * width), stay)
        for place, stay in enumerate(thinned(stays, begin, finish, most))
    ]


def _point(moment: int, stay: Stay | None) -> Point:
    if stay is None:
        return [moment, None, Level.UNKNOWN.value, ""]
    return [moment, stay.score, stay.level, stay.why]


def _changes(stays: Sequence[Stay], end: int) -> list[Point]:
    found = []
    for place, stay in enumerate(stays):
        found.append(_point(stay.since, stay))
        following = stays[place + 1].since if place + 1 < len(stays) else end
        if following > stay.until + 1_000:
            found.append(_point(stay.until, None))
    return found
