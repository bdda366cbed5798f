"""What of this machine can be had once only: two devices must not claim one pin."""

from collections.abc import Iterator

from gateway.config.models import Config
from gateway.config.problems import Problem
from gateway.config.source import Place, Source


def claims(source: Source, config: Config) -> Iterator[Problem]:
    """A problem for each claim that an earlier device, or an earlier key of the same, has made."""
    taken: dict[str, tuple[str, Place]] = {}
    for number, (name, device) in enumerate(config.named_devices.items()):
        for below, what in device.claims().items():
            place: Place = ("devices", number, *below)
            if what in taken:
                owner, first = taken[what]
                mark = source.values.get(first)
                where = ".".join(map(str, first[2:]))
                hint = f"first on line {mark.line}" if mark else ""
                message = f"{what} is taken by {where} of device {owner}"
                yield source.problem(place, message, hint=hint, fix="use another one")
            taken.setdefault(what, (name, place))
