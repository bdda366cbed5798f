"""`berrygate bridges`: how far each bridge has come, and what an operator can do about it."""

import sys
import time
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import (
    CliError,
    Exit,
    ago,
    clock,
    count,
    duration,
    options,
    plain,
    print_json,
    remark,
    table,
)
from gateway.cli.troubles import show_errors, summary

_LOOK = 0.5
_TEXT = 60  # how much of a detail or payload is shown (characters)


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the commands."""
    shared = [options()]
    bridges = commands.add_parser("bridges", parents=shared, help="the bridges")
    bridges.set_defaults(do=show_all)
    actions = bridges.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", parents=shared, help="all bridges (the default)")
    listing.set_defaults(do=show_all)
    for name, what in (
        ("pause", "send nothing, also after a restart, until it is resumed"),
        ("resume", "send again; if it is failing, try now"),
    ):
        action = actions.add_parser(name, parents=shared, help=what)
        action.add_argument("name", metavar="NAME", help="the bridge")
        action.set_defaults(do=switch, call=name)
    errors = actions.add_parser("errors", parents=shared, help="what went wrong in the last day")
    errors.add_argument("name", metavar="NAME", help="the bridge")
    errors.add_argument("--limit", type=int, default=20, help="the most to list (20)")
    errors.set_defaults(do=show_errors)
    _add_letters(actions, shared)
    _add_replay(actions, shared)


def _add_letters(actions: "_SubParsersAction[Any]", shared: list[Any]) -> None:
    letters = actions.add_parser("dead-letters", parents=shared, help="what was refused for good")
    letters.add_argument("name", metavar="NAME", nargs="?", help="a bridge or source; else all")
    letters.add_argument("--limit", type=int, default=20, help="the most to list (20)")
    letters.set_defaults(do=show_letters)
    retry = actions.add_parser("retry", parents=shared, help="try dead letters once more")
    retry.add_argument("name", metavar="NAME", help="the bridge or source")
    retry.add_argument("ids", metavar="ID", nargs="*", type=int, help="dead letters")
    retry.add_argument("--all", action="store_true", help="all of them")
    retry.set_defaults(do=retry_letters)


def _add_replay(actions: "_SubParsersAction[Any]", shared: list[Any]) -> None:
    replay = actions.add_parser("replay", parents=shared, help="send a stretch of time again")
    replay.add_argument("name", metavar="NAME", help="the bridge")
    replay.add_argument("--start", help="from when on, such as -24h")
    replay.add_argument("--end", default="now", help="until when (now)")
    replay.add_argument("--devices", metavar="PATTERN", default="*", help="only these devices")
    replay.add_argument("--stop", action="store_true", help="end the replay that runs")
    replay.set_defaults(do=send_again)


def show_all(args: Namespace) -> int:
    """List every bridge."""
    found = ask(args, "bridges")
    if args.json:
        print_json(found)
    elif not found:
        print("no bridges are configured")
    else:
        heads = ["NAME", "TYPE", "STATE", "BREAKER", "IN USE", "DELIVERED"]
        heads += ["BEHIND", "OLDEST", "LAST ERROR"]
        table(heads, [_row(bridge) for bridge in found])
        for bridge in found:
            if bridge.get("replay"):
                print(f"{bridge['name']}: {_progress(bridge['replay'])}")
            if said := summary(bridge.get("troubles")):
                print(f"{bridge['name']}: {said}")
        _show_endpoints(found)
    return Exit.OK


def _row(bridge: dict[str, Any]) -> list[tuple[str, str] | str]:
    state = bridge["state"]
    oldest = bridge.get("oldest")
    return [
        bridge["name"],
        bridge["type"],
        state if state == "running" else (state, "bad"),
        plain(bridge.get("breaker")),
        _in_use(bridge.get("pool", {})),
        count(bridge.get("delivered")),
        count(bridge.get("pending")),
        duration(oldest) if oldest else "-",
        plain(bridge.get("last_error")),
    ]


def _in_use(pool: dict[str, Any]) -> str:
    return f"{count(pool.get('busy'))} of {count(pool.get('max'))}"


def _show_endpoints(bridges: list[dict[str, Any]]) -> None:
    """Each endpoint of the bridges that have several."""
    several = [
        (bridge["name"], endpoint)
        for bridge in bridges
        if len(endpoints := bridge.get("pool", {}).get("endpoints", ())) > 1
        for endpoint in endpoints
    ]
    if several:
        print()
        heads = ["BRIDGE", "ENDPOINT", "STATE", "BREAKER", "BUSY", "IDLE", "LATENCY", "FAILED"]
        table([*heads, "LAST ERROR"], [_endpoint_row(name, each) for name, each in several])


def _endpoint_row(name: str, endpoint: dict[str, Any]) -> list[tuple[str, str] | str]:
    state = endpoint["state"]
    return [
        name,
        plain(endpoint["name"]),
        state if state == "HEALTHY" else (state, "bad"),
        plain(endpoint["breaker"]),
        count(endpoint["busy"]),
        count(endpoint["idle"]),
        f"{1000 * endpoint['latency']:.1f} ms",
        count(endpoint["failed"]),
        plain(endpoint["last_error"]),
    ]


def switch(args: Namespace) -> int:
    """Pause or resume a bridge."""
    bridge = ask(args, args.call, name=args.name)
    if args.json:
        print_json(bridge)
    else:
        print(f"{bridge['name']} is {bridge['state']}, {count(bridge['pending'])} readings wait")
    return Exit.OK


def show_letters(args: Namespace) -> int:
    """Dead letters: how many for which reason, then the newest."""
    found = ask(args, "dead_letters", name=args.name, limit=args.limit)
    if args.json:
        print_json(found)
    elif not found["groups"]:
        print("no dead letters")
    else:
        table(
            ["NAME", "REASON", "DEVICE", "COUNT", "FIRST", "LAST", "DETAIL"],
            [
                [
                    plain(group["name"]),
                    plain(group["reason"]),
                    plain(group["device"]),
                    count(group["count"]),
                    ago(group["first"]),
                    ago(group["last"]),
                    _short(group["detail"]),
                ]
                for group in found["groups"]
            ],
        )
        print()
        table(
            ["ID", "FIRST", "LAST", "COUNT", "NAME", "DEVICE", "REASON", "DETAIL", "PAYLOAD"],
            [_letter(letter) for letter in found["letters"]],
        )
    return Exit.OK


def _letter(letter: dict[str, Any]) -> list[tuple[str, str] | str]:
    reading = letter["reading"]
    return [
        str(letter["id"]),
        clock(letter["time"]),
        clock(letter["last"]),
        count(letter["count"]),
        plain(letter["name"]),
        plain(letter["device"]),
        plain(letter["reason"]),
        _short(letter["detail"]),
        _short(reading["values"] if reading else letter["payload"]),
    ]


def _short(text: Any) -> str:
    shown = plain(text)
    return shown if len(shown) <= _TEXT else shown[: _TEXT - 1] + "…"


def retry_letters(args: Namespace) -> int:
    """Try dead letters again, a request for each few hundred; 1 if some stay."""
    if bool(args.ids) == args.all:
        raise CliError("name dead letters by their IDs, or give --all", Exit.USAGE)
    taken, kept = 0, list[dict[str, Any]]()
    after: int | None = 0
    while after is not None:
        found = ask(args, "retry", name=args.name, ids=args.ids, after=after)
        taken += found["taken"]
        kept += found["kept"]
        after = found["next"]
    if args.json:
        print_json({"taken": taken, "kept": kept})
    else:
        print(f"{count(taken)} taken, {count(len(kept))} stay")
        for letter in kept[:10]:
            print(f"  {letter['id']}: {plain(letter['reason'])}")
        if len(kept) > 10:
            print(f"  … {count(len(kept) - 10)} more; --json shows all")
    return Exit.FAILED if kept else Exit.OK


def send_again(args: Namespace) -> int:
    """Replay, and show how it goes on; or stop it."""
    if args.stop:
        return _show(args, ask(args, "stop_replay", name=args.name))
    if args.start is None:
        raise CliError("say from when on, such as --start -24h", Exit.USAGE)
    named = {"start": args.start, "end": args.end, "devices": args.devices}
    found = ask(args, "replay", name=args.name, **named)
    if found["journal_from"] > found["start"]:
        reaches = clock(found["journal_from"])
        remark(f"the journal reaches back to {reaches}; older readings are not sent")
    try:
        while found["state"] == "running":
            if not args.json:
                print(f"\r{_progress(found)}\x1b[K" if _live() else "", end="", flush=True)
            time.sleep(_LOOK)
            found = _running(args)
    except KeyboardInterrupt:
        print(f"\nthe replay goes on; berrygate bridges replay {args.name} --stop ends it")
        return Exit.OK
    return _show(args, found)


def _live() -> bool:
    return sys.stdout.isatty()


def _running(args: Namespace) -> dict[str, Any]:
    replay = next(b["replay"] for b in ask(args, "bridges") if b["name"] == args.name)
    assert isinstance(replay, dict), "it has begun"
    return replay


def _show(args: Namespace, replay: dict[str, Any]) -> int:
    if args.json:
        print_json(replay)
    else:
        print(f"\r{_progress(replay)}\x1b[K" if _live() else _progress(replay))
    return Exit.FAILED if replay["state"] == "failed" else Exit.OK


def _progress(replay: dict[str, Any]) -> str:
    refused = f", {count(replay['refused'])} refused" if replay["refused"] else ""
    return (
        f"replay {replay['state']}: {replay['progress']:.0%}, {count(replay['sent'])} sent{refused}"
    )
