"""`berrygate devices`: who is there, and what each said last."""

from argparse import Namespace, _SubParsersAction
from collections.abc import Iterator
from typing import Any

from gateway.cli import commands as telling
from gateway.cli import credentials, managing, registry, twins
from gateway.cli.client import ask
from gateway.cli.common import (
    CliError,
    Exit,
    ago,
    clock,
    duration,
    level,
    options,
    plain,
    print_json,
    table,
)  # fmt: skip


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the commands."""
    shared = [options()]
    devices = commands.add_parser("devices", parents=shared, help="the devices and what they say")
    devices.set_defaults(do=show_all)
    actions = devices.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", parents=shared, help="all devices (the default)")
    listing.add_argument("filter", nargs="?", default="", help="only those whose id or name has it")
    listing.add_argument("--state", choices=("new", "adopted", "ignored"), help="only those")
    listing.add_argument("--tag", default="", help="only those with this tag")
    listing.set_defaults(do=show_all)
    showing = actions.add_parser("show", parents=shared, help="one device")
    identity = showing.add_argument("id", metavar="ID")
    identity.completer = complete
    showing.set_defaults(do=show)
    telling.add(actions, complete)
    managing.add(actions, complete)
    twins.add(actions, complete)
    credentials.add(actions, complete)
    registry.add(actions)


def complete(parsed_args: Namespace, **_: Any) -> list[str]:
    """Device ids, for the shell."""
    try:
        return [device["id"] for device in ask(parsed_args, "devices")]
    except CliError:
        return []


def show_all(args: Namespace) -> int:
    """List every device."""
    asked = {key: getattr(args, key, None) for key in ("filter", "state", "tag")}
    wanted = {key: value for key, value in asked.items() if value}
    found = sorted(ask(args, "devices", **wanted), key=lambda device: str(device["id"]))
    if args.json:
        print_json(found)
        return Exit.OK
    if not found:
        print("no such devices" if wanted else "no devices yet")
        return Exit.OK
    rows = [
        [
            device["id"],
            plain(device.get("name")),
            device.get("state", "new"),
            _level(device),
            ago(device.get("last_seen")),
            _values(device),
        ]
        for device in found
    ]
    table(["DEVICE", "NAME", "STATE", "HEALTH", "LAST SEEN", "LAST VALUES"], rows)
    return Exit.OK


def show(args: Namespace) -> int:
    """Show one device."""
    device = ask(args, "device", device=args.id)
    if args.json:
        print_json(device)
        return Exit.OK
    health = device.get("health", {})
    print(f"{plain(device['id'])}  {level(health.get('level', 'UNKNOWN'), health.get('score'))}")
    for reason in health.get("reasons", []):
        print(f"  -{reason['cost']:<3} {plain(reason.get('text'))}")
    for key, value in (*_described(device), *_timing(device)):
        print(f"  {key:<10} {plain(value)}")
    print(f"  last seen  {ago(device.get('last_seen'))}")
    last = device.get("last", {})
    if last.get("time"):
        print(f"  last time  {clock(last['time'])}")
    if last.get("values"):
        print()
        units = device.get("units", {})
        rows = [
            [plain(metric), plain(value), plain(units.get(metric, ""))]
            for metric, value in last["values"].items()
        ]
        table(["METRIC", "LAST VALUE", "UNIT" if units else ""], rows)
    return Exit.OK


def _timing(device: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """How often it speaks, when it is silent, and how long its readings take."""
    if device.get("interval"):
        yield "every", duration(device["interval"])
    if device.get("silent_after"):
        yield "silent", f"after {duration(device['silent_after'])} without a message"
    if device.get("latency") is not None:
        yield "latency", f"{device['latency']:.3f} s, by its own clock"


def _described(device: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is known of it besides its readings, by word."""
    told = device.get("about") or {}
    lines = [
        ("name", device.get("name") or told.get("name")),
        ("called", device.get("original")),
        ("state", device.get("state")),
        ("speaks as", told.get("family")),
        ("model", device.get("model") or told.get("model")),
        ("made by", told.get("manufacturer")),
        ("firmware", device.get("firmware") or told.get("firmware")),
        ("tags", ", ".join(device.get("tags") or ())),
        *(device.get("attributes") or {}).items(),
        ("source", device.get("source")),
        *(("not read", f"{metric}: {why}") for metric, why in (told.get("unread") or {}).items()),
    ]
    return ((plain(word), value) for word, value in lines if value)


def _level(device: dict[str, Any]) -> tuple[str, str]:
    name = device.get("health", {}).get("level", "UNKNOWN")
    return name, name


def _values(device: dict[str, Any]) -> str:
    values = device.get("last", {}).get("values", {})
    text = " ".join(f"{plain(metric)}={plain(value)}" for metric, value in values.items())
    return text if len(text) <= 100 else text[:99] + "…"
