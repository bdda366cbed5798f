"""What is on the screen: head, stages, bridges, devices. Each becomes a list of lines."""

import time
from typing import Any

from gateway.cli.common import count, duration, size
from gateway.cli.top.text import Column, Line, Piece, Style, flow, said, table

Document = dict[str, Any]

SORTS = {
    "rate": "RATE",
    "seen": "LAST SEEN",
    "state": "STATE",
    "readings": "READINGS",
    "id": "DEVICE",
}
_MOST_REASONS = 3
_BAR = 10
_BRIDGE_LEVELS = {
    "running": "GOOD",
    "paused": "WARNING",
    "failing": "CRITICAL",
    "denied": "FAILED",
    "stopped": "FAILED",
    "failed over": "WARNING",
}


def moment(seconds: float) -> str:
    """A time of day, in this machine's time zone."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def rate(number: float | None, unit: str = "/s") -> str:
    """A rate as people read it; `-` while there is none."""
    if number is None:
        return "-"
    if number == 0 or number >= 10:
        return f"{number:,.0f}{unit}"
    return f"{number:.1f}{unit}" if number >= 0.1 else f"{number:.2f}{unit}"


def head(found: Document, style: Style, room: int) -> list[Line]:
    """The whole at a glance, in as many lines as it takes."""
    health = found["health"]
    score = "" if health["level"] == "UNKNOWN" else f" {health['score']}"
    first = [
        [(said(found["id"]), "bold")],
        [style.level(health["level"], f"{health['level']}{score}")],
        [("up " + duration(found["uptime"]), "")],
        [("berrygate " + said(found["version"]), "dim")],
    ]
    return flow(first, room) + flow([*_flows(found), *_machine(found), *_losses(found)], room)


def _flows(found: Document) -> list[Line]:
    outs = [f"{said(bridge['name'])} {rate(bridge['rate'])}" for bridge in found["bridges"]]
    return [
        _named("IN", rate(found["in"])),
        _named("OUT", ", ".join(outs[:3]) + (f" +{len(outs) - 3}" if outs[3:] else "") or "-"),
        _named("JOURNAL", _written(found["journal"])),
        _named("DISK", _written(found["disk"])),
    ]


def _written(found: Document) -> str:
    if found["written"] is None:
        return "-"
    return f"{size(found['written'])}/s {size(found['per_day'])}/day"


def _machine(found: Document) -> list[Line]:
    process, machine = found["process"], found["machine"]
    return [
        _named("GATEWAY", f"cpu {_percent(process['cpu_percent'])} mem {size(process['rss'])}"),
        _named(
            "MACHINE",
            f"cpu {_percent(machine['cpu_percent'])} mem {_percent(machine['memory_percent'])}"
            + ("" if machine["temperature"] is None else f" {machine['temperature']:.0f} °C"),
        ),
    ]


def _losses(found: Document) -> list[Line]:
    differences, dropped = found["differences"], found["dropped"]
    groups: list[Line] = [_named("LEDGER", "0 unexplained")]
    if differences:
        names = ", ".join(f"{said(name)} {number:+,}" for name, number in differences.items())
        groups = [[("LEDGER ", "dim"), (f"UNEXPLAINED {names}", "bad")]]
    if dropped:
        reasons = ", ".join(f"{said(reason)} {number:,}" for reason, number in dropped.items())
        groups.append([("DROPPED ", "dim"), (f"{sum(dropped.values()):,} ({reasons})", "WARNING")])
    else:
        groups.append(_named("DROPPED", "0"))
    if found["dead_letters"]:
        groups.append([("DEAD LETTERS ", "dim"), (count(found["dead_letters"]), "WARNING")])
    return groups


def _named(name: str, text: str) -> Line:
    return [(f"{name} ", "dim"), (text, "")]


def _percent(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f} %"


def why(found: Document, most: int = _MOST_REASONS) -> list[Line]:
    """What is not well, the worst first."""
    lines: list[Line] = [[(f"not ready: {said(reason)}", "bad")] for reason in found["reasons"]]
    if trouble := found["journal"]["trouble"]:
        lines.append([(f"the journal's disk refuses: {said(trouble)}", "bad")])
    for reason in found["health"]["reasons"]:
        text = f"{said(reason['component'])}: {said(reason['text'])}"
        lines.append([(f"-{reason['cost']} ", "WARNING"), (text, "")])
    if more := lines[most:]:
        lines = lines[:most]
        lines[-1] = [(f"(+{len(more)} more) ", "dim"), *lines[-1]]
    return lines


def stages(found: Document, style: Style, room: int) -> list[Line]:
    """What limits, and why; where time goes: the stage that limits, or else takes most of it, is
    marked by a word."""
    columns = [
        Column("STAGE"),
        Column("RATE", right=True),
        Column("P50", right=True),
        Column("P95", right=True),
        Column("P99", right=True, rank=1),
        Column("SHARE", right=True),
        Column("", rank=2),
        Column(""),
    ]
    by_share = sorted(found["stages"].items(), key=lambda item: -item[1]["share"])
    for name, stage in by_share:
        busiest = name == found["bottleneck"]
        cells = [
            said(name), rate(stage["rate"]),
            *(_milliseconds(stage[key]) for key in ("p50", "p95", "p99")),
            f"{stage['share']:.0%}", "█" * round(stage["share"] * _BAR),
            "← bottleneck" if busiest else "",
        ]  # fmt: skip
        for column, text in zip(columns, cells, strict=True):
            column.cells.append((text, "bold" if busiest else ""))
    limits = _limits(found.get("limits", []))
    if not found["stages"]:
        return [*limits, [("STAGE  nothing in the last minute", "dim")]]
    return [*limits, *table(columns, room)]


def _limits(limits: list[Document]) -> list[Line]:
    """The first of what limits, with its reason, and how many more there are."""
    if not limits:
        return []
    first, more = limits[0], len(limits) - 1
    name = said(first["stage"]) + (f" (+{more} more)" if more else "")
    return [[(f"{name} ← bottleneck: ", "bold"), (said(first["text"]), "WARNING")]]


def _milliseconds(seconds: float) -> str:
    number = seconds * 1000
    return f"{number:,.0f} ms" if number >= 100 else f"{number:.1f} ms"


def bridges(found: Document, style: Style, room: int) -> list[Line]:
    """How far each bridge has come."""
    if not found["bridges"]:
        return [[("BRIDGE  none is configured", "dim")]]
    columns = [
        Column("BRIDGE", most=24),
        Column("STATE"),
        Column("RATE", right=True),
        Column("BEHIND", right=True),
        Column("OLDEST", right=True),
        Column("DROPS IN", rank=1, right=True),
        Column("LAST ERROR"),
    ]
    for bridge in found["bridges"]:
        drops = bridge.get("drops_in")
        state = bridge["state"]
        cells: list[Piece] = [
            (said(bridge["name"]), "bold"),
            style.level(_BRIDGE_LEVELS.get(state, "UNKNOWN"), state),
            (rate(bridge["rate"]), ""),
            (count(bridge.get("pending")), ""),
            (duration(bridge["oldest"]) if bridge.get("oldest") else "-", ""),
            ("-", "") if drops is None else (duration(drops), "WARNING"),
            (said(bridge.get("last_error")), "bad" if bridge.get("last_error") else ""),
        ]
        for column, cell in zip(columns, cells, strict=True):
            column.cells.append(cell)
    return table(columns, room)


def devices_title(found: Document, style: Style) -> Line:
    """How many there are, of which level."""
    devices = found["devices"]
    line: Line = [(f"DEVICES {count(devices['count'])}", "bold")]
    for level, number in sorted(devices["levels"].items()):
        text, look = style.level(level)
        line += [("  ", ""), (f"{text} {number:,}", look)]
    return line


def devices(found: Document, style: Style, room: int, sort: str) -> list[Line]:
    """The devices that were asked for, in the order they came."""
    heads = {key: f"{text}▼" if key == sort else text for key, text in SORTS.items()}
    looks = {key: "bold" if key == sort else "dim" for key in SORTS}
    columns = [
        Column(heads["id"], most=40, look=looks["id"]),
        Column(heads["state"], look=looks["state"]),
        Column(heads["rate"], right=True, look=looks["rate"]),
        Column("EVERY", right=True, rank=3),
        Column(heads["seen"], right=True, look=looks["seen"]),
        Column(heads["readings"], right=True, rank=2, look=looks["readings"]),
        Column("REFUSED", right=True, rank=4),
        Column("WHY", rank=1),
    ]
    for row in found["devices"]["rows"]:
        silent = row["silent"]
        cells: list[Piece] = [
            (said(row["id"]), ""),
            style.level(row["level"]),
            (rate(row["rate"]), ""),
            (duration(row["interval"]) if row["interval"] else "-", ""),
            ("never" if silent is None else f"{duration(silent)} ago", ""),
            (count(row["readings"]), ""),
            (count(row["refused"]), "WARNING" if row["refused"] else ""),
            (said(row["why"]) if row["why"] else "", ""),
        ]
        for column, cell in zip(columns, cells, strict=True):
            column.cells.append(cell)
    return table(columns, room)


HELP = (
    "q         quit",
    "s         sort devices by the next column; ▼ marks it",
    "/         filter devices by a part of their id",
    "          Enter keeps the filter, Esc clears it",
    "up down   scroll devices; also PgUp PgDn Home End",
    "tab       another panel, where not all have room",
    "p         pause, and go on",
    "?         this help; any key leaves it",
    "",
    "IN        messages a second, of all sources",
    "OUT       readings a second that each bridge delivered",
    "JOURNAL   what is committed; DISK what the gateway writes",
    "          in all, over the last minute",
    "LEDGER    anything unexplained is a bug: berrygate status",
    "SHARE     of all stages' time, in the last minute",
    "BEHIND    readings that wait; OLDEST how long they do",
    "DROPS IN  when retention will drop some of them",
    "",
    "Rates are over 5 s, those of devices over 10 s.",
)
