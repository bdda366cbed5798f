"""`berrygate alerts`: what is wrong now, who has been told, and being left alone for a while."""

import getpass
import time
from argparse import Namespace, _SubParsersAction
from typing import Any

from gateway.cli.client import ask
from gateway.cli.common import (
    CliError,
    Exit,
    ago,
    clock,
    colored,
    count,
    duration,
    options,
    plain,
    print_json,
    table,
)

_LOOKS = {"critical": "CRITICAL", "warning": "WARNING", "info": "GOOD"}
_ICONS = {"critical": "⬣", "warning": "▲", "info": "ℹ"}
_STATES = ("active", "all", "pending", "firing", "acknowledged", "silenced", "resolved")
_TEXT = 80


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    shared = [options()]
    alerts = commands.add_parser("alerts", parents=shared, help="what is wrong now")
    alerts.set_defaults(do=show_all, state="active")
    actions = alerts.add_subparsers(dest="action", metavar="ACTION")
    listing = actions.add_parser("list", parents=shared, help="active alerts (the default)")
    listing.add_argument("--state", choices=_STATES, default="active", help="others (active)")
    listing.set_defaults(do=show_all)
    ack = actions.add_parser("ack", parents=shared, help="take care of an alert")
    ack.add_argument("ids", metavar="ID", nargs="+", type=int, help="alerts")
    ack.set_defaults(do=acknowledge)
    _add_silences(actions, shared)
    channels = actions.add_parser("channels", parents=shared, help="who can be told")
    channels.set_defaults(do=show_channels)
    test = actions.add_parser("test", parents=shared, help="send a test through a channel")
    test.add_argument("channel", metavar="CHANNEL", help="its name, or mqtt")
    test.set_defaults(do=send_test)


def _add_silences(actions: "_SubParsersAction[Any]", shared: list[Any]) -> None:
    silence = actions.add_parser("silence", parents=shared, help="tell nobody for a while")
    silence.add_argument("source", metavar="SOURCE", nargs="?", default="*",
                         help="of this device or part, such as soil-4 or 'bridge/*'")  # fmt: skip
    silence.add_argument("--rule", metavar="PATTERN", default="*", help="of these rules only")
    silence.add_argument("--for", dest="duration", default="1h", help="for how long (1h)")
    silence.add_argument("--comment", default="", help="why")
    silence.add_argument("--end", metavar="ID", type=int, help="end this silence instead")
    silence.set_defaults(do=be_silent)
    silences = actions.add_parser("silences", parents=shared, help="the silences there are")
    silences.set_defaults(do=show_silences)


def show_all(args: Namespace) -> int:
    """List alerts; 1 if a critical one fires that nobody takes care of."""
    found = ask(args, "alerts", state=args.state)
    if args.json:
        print_json(found)
    elif not found:
        print("no alerts" if args.state in ("active", "all") else f"no {args.state} alerts")
    else:
        heads = ["ID", "SEVERITY", "STATE", "SINCE", "RULE", "SOURCE", "COUNT", "MESSAGE"]
        table(heads, [_row(alert) for alert in found])
    urgent = any(a["severity"] == "critical" and a["state"] == "firing" for a in found)
    return Exit.FAILED if urgent else Exit.OK


def _row(alert: dict[str, Any]) -> list[tuple[str, str] | str]:
    severity, state = alert["severity"], alert["state"]
    if alert["silenced_until"]:
        state = f"{state} until {clock(alert['silenced_until'], '%H:%M:%S').split('.')[0]}"
    elif alert["acknowledged_by"] and state == "acknowledged":
        state = f"{state} by {alert['acknowledged_by']}"
    message = plain(alert["message"])
    return [
        str(alert["id"]),
        (f"{_ICONS.get(severity, '')} {severity}", _LOOKS.get(severity, "")),
        plain(state),
        ago(alert["since"]),
        plain(alert["rule"]),
        plain(alert["source"]),
        count(alert["count"]),
        message if len(message) <= _TEXT else message[: _TEXT - 1] + "…",
    ]


def acknowledge(args: Namespace) -> int:
    """Acknowledge alerts."""
    done = [ask(args, "alert_ack", id=number, by=_me()) for number in args.ids]
    if args.json:
        print_json(done)
    else:
        for alert in done:
            print(f"{alert['id']} {plain(alert['rule'])} {plain(alert['source'])}: acknowledged")
    return Exit.OK


def be_silent(args: Namespace) -> int:
    """Make a silence, or end one."""
    if args.end is not None:
        silence = ask(args, "silence_end", id=args.end)
        text = f"silence {args.end} has ended"
    else:
        if args.source == "*" and args.rule == "*":
            fix = "berrygate alerts silence '*' --rule 'device-*'"
            raise CliError("say of which source or rule", Exit.USAGE, fix)
        asked = {"source": args.source, "rule": args.rule, "duration": args.duration}
        silence = ask(args, "silence", **asked, by=_me(), comment=args.comment)
        text = f"silence {silence['id']} until {_short(silence['end'])}"
    if args.json:
        print_json(silence)
    else:
        print(text)
    return Exit.OK


def show_silences(args: Namespace) -> int:
    """List silences."""
    found = ask(args, "silences")
    if args.json:
        print_json(found)
    elif not found:
        print("no silences")
    else:
        rows = [
            [
                str(each["id"]),
                plain(each["rule"]),
                plain(each["source"]),
                _short(each["end"]),
                duration(max(each["end"] / 1000 - time.time(), 0)),
                plain(each["by"]),
                plain(each["comment"]),
            ]
            for each in found
        ]
        table(["ID", "RULE", "SOURCE", "UNTIL", "LEFT", "BY", "COMMENT"], rows)
    return Exit.OK


def show_channels(args: Namespace) -> int:
    """List channels; 1 if one does not take messages."""
    found = ask(args, "channels")
    if args.json:
        print_json(found)
    elif not found:
        print("no channels besides mqtt; see alerts.channels")
    else:
        heads = ["NAME", "SERVICE", "STATE", "WAITING", "SENT", "GIVEN UP", "LAST ERROR"]
        table(heads, [_channel(each) for each in found])
    return Exit.FAILED if any(each["state"] != "ok" for each in found) else Exit.OK


def _channel(channel: dict[str, Any]) -> list[tuple[str, str] | str]:
    return [
        plain(channel["name"]),
        plain(channel["service"]),
        (channel["state"], "" if channel["state"] == "ok" else "bad"),
        count(channel["waiting"]),
        count(channel["sent"]),
        count(channel["given_up"]),
        plain(channel["last_error"]),
    ]


def send_test(args: Namespace) -> int:
    """Send a test and say whether it was taken."""
    found = ask(args, "channel_test", channel=args.channel)
    if args.json:
        print_json(found)
    else:
        print(f"{colored('✔', 'GOOD')} {plain(args.channel)} took it in {found['took']:g} s")
    return Exit.OK


def _short(ms: int) -> str:
    return clock(ms).split(".")[0]


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return ""
