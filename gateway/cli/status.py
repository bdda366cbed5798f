"""`berrygate status`: how the gateway is, at a glance."""

from argparse import Namespace, _SubParsersAction
from collections.abc import Sequence
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import (
    Exit,
    colored,
    count,
    duration,
    level,
    options,
    plain,
    print_json,
    size,
    table,
)

Cell = tuple[str, str] | str

_UNHEALTHY = ("CRITICAL", "FAILED")
_SOURCE = ("received", "journalled", "repeated", "dead_lettered", "dropped", "in_flight")
_BRIDGE = ("matched", "delivered", "pending", "dead_lettered", "dropped")


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    showing = commands.add_parser(
        "status",
        parents=[options()],
        help="health, ledger, bridges; exit code 1 where not well",
    )
    showing.set_defaults(do=status)


def status(args: Namespace) -> int:
    """Show it; 1 if it is not ready, unhealthy, or something is unexplained."""
    found = ask(args, "status")
    if args.json:
        print_json(found)
    else:
        _head(found)
        _ledger(found)
    return Exit.OK if _is_well(found) else Exit.FAILED


def _is_well(found: dict[str, Any]) -> bool:
    sides = found["ledger"]["sources"], found["ledger"]["bridges"]
    explained = all(ledger["difference"] == 0 for side in sides for ledger in side.values())
    return found["ready"] and explained and found["health"]["level"] not in _UNHEALTHY


def _head(found: dict[str, Any]) -> None:
    health = found["health"]
    trend = health.get("trend", "steady")
    going = "" if trend == "steady" else f"{plain(trend)}  "
    print(
        f"{colored(plain(found['id']), 'bold')}  {level(health['level'], health['score'])}  "
        f"{going}up {duration(found['uptime'])}  berrygate {found['version']}"
    )
    for reason in found["reasons"]:
        print(colored(f"  not ready: {plain(reason)}", "bad"))
    _reasons(health["reasons"])
    if active := (alerts := found.get("alerts") or {}).get("active"):
        worst = next(each for each in ("critical", "warning", "info") if alerts.get(each))
        text = f"  {count(active)} active: {count(alerts[worst])} {worst}; see berrygate alerts"
        print(colored(text, "CRITICAL" if worst == "critical" else "WARNING"))
    _channels(alerts.get("channels", ()))
    for name, each in found.get("limits", {}).items():
        if each["refused"]:
            text = f"  {count(each['refused'])} refused: over limits.{name} ({each['limit']:,})"
            print(colored(text, "WARNING"))
    journal = found["journal"]
    synced = found.get("clock", {}).get("synced", True)
    print(
        f"  {count(found['devices']['count'])} devices   "
        f"journal {size(journal['bytes'])} in {journal['segments']} segment(s)   "
        f"clock {'set' if synced else 'not set'}"
    )


def _channels(channels: Sequence[dict[str, Any]]) -> None:
    """Those that take no messages: an alert that reaches nobody."""
    for channel in channels:
        if channel["state"] == "failing":
            why = plain(channel["last_error"])
            text = f"  channel {plain(channel['name'])} takes no messages: {why}"
            print(colored(text, "WARNING"))


def _reasons(reasons: list[dict[str, Any]]) -> None:
    """Why points were lost, and what the gateway does about it, once for each part."""
    said = set()
    for reason in reasons:
        part, doing = reason.get("component", ""), reason.get("doing")
        text = reason.get("text") or f"{reason['metric']} {reason['value']} ({reason['limit']})"
        print(f"  -{reason['cost']:<3} {plain(part)}  {plain(text)}")
        if doing and (part, doing) not in said:
            said.add((part, doing))
            print(f"       {plain(doing)}")


def _ledger(found: dict[str, Any]) -> None:
    sources, bridges = found["ledger"]["sources"], found["ledger"]["bridges"]
    if sources:
        print()
        rows = [[plain(name), *_numbers(sources[name], _SOURCE)] for name in sources]
        table(["SOURCE", *_heads(_SOURCE)], rows)
    if thrown := found["ledger"]["broker"]["dropped"]:
        print(colored(f"  the broker itself threw away {count(thrown)}", "WARNING"))
    if bridges:
        print()
        states = {bridge["name"]: bridge for bridge in found["bridges"]}
        table(
            ["BRIDGE", "STATE", *_heads(_BRIDGE), "LAST ERROR"],
            [
                [
                    plain(name),
                    _state(states.get(name, {}).get("state", "-")),
                    *_numbers(bridges[name], _BRIDGE),
                    plain(states.get(name, {}).get("last_error")),
                ]
                for name in bridges
            ],
        )


def _heads(keys: tuple[str, ...]) -> list[str]:
    names = {"dead_lettered": "DEAD LETTERS", "in_flight": "IN FLIGHT"}
    return [*(names.get(key, key.upper()) for key in keys), "DIFFERENCE"]


def _numbers(ledger: dict[str, Any], keys: tuple[str, ...]) -> list[Cell]:
    """The ledger's numbers, then what they leave unexplained: always visible, loud unless 0."""
    shown = {**ledger, "dropped": sum(ledger["dropped"].values())}
    difference = ledger["difference"]
    last: Cell = (f"{difference:,} UNEXPLAINED", "bad") if difference else "0"
    return [*(count(shown[key]) for key in keys), last]


def _state(state: str) -> Cell:
    return state if state == "running" else (state, "bad")
