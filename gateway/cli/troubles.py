"""`berrygate bridges errors`: what went wrong with a bridge in the last day, and how it ended."""

from argparse import Namespace
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import Exit, clock, count, duration, print_json, table

_HOURS_AND_MINUTES = "%Y-%m-%d %H:%M"


def show_errors(args: Namespace) -> int:
    """Errors by minute and kind, the newest first, then the outages."""
    found = ask(args, "errors", name=args.name)
    if args.json:
        print_json(found)
        return Exit.OK
    now = found.get("now")
    if not found["minutes"] and not now:
        print("no errors in the last day")
        return Exit.OK
    minutes = found["minutes"][: -args.limit - 1 : -1]
    rows = [[_minute(each["time"]), _kinds(each["errors"])] for each in minutes]
    table(["MINUTE", "ERRORS"], rows)
    outages = [_outage(each) for each in found["outages"][: -args.limit - 1 : -1]]
    if now:
        outages.insert(0, [clock(now["began"]), _lasted(now["seconds"]), "not yet"])
    if outages:
        print()
        table(["OUTAGE SINCE", "LASTED", "HEALED"], outages)
    return Exit.OK


def _outage(outage: dict[str, Any]) -> list[str | tuple[str, str]]:
    healed = "unaided" if outage["unaided"] else "by a person"
    return [clock(outage["began"]), _lasted(outage["seconds"]), healed]


def summary(troubles: dict[str, Any] | None) -> str:
    """The same in one line; empty where nothing was wrong."""
    if not troubles or not troubles["day"]:
        return ""
    parts = [f"errors in the last hour: {_kinds(troubles['hour'])}"] if troubles["hour"] else []
    parts.append(f"in the last day: {_kinds(troubles['day'])}")
    if troubles["outages"]:
        parts.append(
            f"{count(troubles['outages'])} outages since the start, {count(troubles['unaided'])} "
            f"healed unaided, {_lasted(troubles['recovery'])} on average"
        )
    return "; ".join(parts)


def _kinds(errors: dict[str, int]) -> str:
    return ", ".join(f"{count(number)} {kind}" for kind, number in sorted(errors.items()))


def _minute(ms: int) -> str:
    return clock(ms, _HOURS_AND_MINUTES)[: -len(".000")]


def _lasted(seconds: float) -> str:
    return duration(seconds) if seconds >= 60 else f"{seconds:.1f}s"
