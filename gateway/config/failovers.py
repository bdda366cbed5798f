"""The bridge that stands in for another one must be there, and be another one."""

from collections.abc import Iterator

from gateway.config.models import Config
from gateway.config.problems import Problem
from gateway.config.source import Source


def failovers(source: Source, config: Config) -> Iterator[Problem]:
    """A problem for each bridge whose `retry.failover` names none, or itself."""
    known = config.named_bridges
    for number, (name, bridge) in enumerate(known.items()):
        other = bridge.retry.failover
        if other is None or (other in known and other != name):
            continue
        message = "a bridge cannot stand in for itself" if other == name else f'no bridge "{other}"'
        names = [each for each in known if each != name]
        fix = f"name one of: {', '.join(names)}" if names else "add a bridge with that name"
        yield source.problem(("bridges", number, "retry", "failover"), message, fix=fix)
