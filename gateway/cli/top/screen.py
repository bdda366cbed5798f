"""Which panels a screen has room for, and one whole frame of them."""

import time
from dataclasses import dataclass
from typing import Any

from gateway.cli.top import panels
from gateway.cli.top.text import Line, Style, flow, width

Document = dict[str, Any]

_VIEWS = ("stages", "bridges", "devices")
_LEAST = 7  # lines for devices where something else is shown as well: title, head and some rows
_SORTS = list(panels.SORTS)


@dataclass(slots=True)
class View:
    """What the user has chosen. typing: the filter is being typed."""

    sort: str = "rate"
    filter: str = ""
    typing: bool = False
    offset: int = 0
    page: int = 10
    panel: str = "stages"
    help: bool = False
    paused: float = 0.0

    def next_sort(self) -> None:
        """Sort by the next column."""
        self.sort = _SORTS[(_SORTS.index(self.sort) + 1) % len(_SORTS)]
        self.offset = 0

    def next_panel(self) -> None:
        """Show the next panel where not all have room."""
        self.panel = _VIEWS[(_VIEWS.index(self.panel) + 1) % len(_VIEWS)]

    def scroll(self, rows: int, matching: int) -> None:
        """Go so many devices on."""
        self.offset = max(min(self.offset + rows, matching - self.page), 0)


class Screen:
    """Makes frames of a document. since: since when the gateway is away (s), or 0; why."""

    def __init__(self, shapes: bool) -> None:
        self._shapes = shapes
        self.since = 0.0
        self.why = ""

    def frame(self, found: Document, view: View, columns: int, rows: int) -> list[str]:
        """`rows` lines of `columns` columns."""
        style = Style(self._shapes, stale=bool(self.since))
        notice = self._notice(found, view)
        room = max(rows - 1 - len(notice), 0)
        if view.help:
            lines: list[Line] = [[(text, "")] for text in panels.HELP]
        else:
            lines = self._body(found, view, style, columns, room)
        drawn = [style.draw(line, columns) for line in lines[:room]]
        drawn += [" " * columns] * (room - len(drawn))
        plain = Style(self._shapes)
        above, below = (
            [plain.draw(line, columns) for line in part]
            for part in (notice, [self._foot(view, columns)])
        )
        return [*above, *drawn, *below][:rows]

    def whole(self, found: Document, view: View, columns: int) -> list[str]:
        """Everything there is, as many lines as it takes; for a page that is printed."""
        style = Style(self._shapes)
        lines = [*panels.head(found, style, columns), *panels.why(found, 20), []]
        lines += [*panels.stages(found, style, columns), []]
        lines += [*panels.bridges(found, style, columns), []]
        lines += self._devices(found, view, style, columns)
        return [style.draw(line, columns).rstrip() for line in lines]

    def _body(
        self, found: Document, view: View, style: Style, columns: int, rows: int
    ) -> list[Line]:
        top = panels.head(found, style, columns)
        top += panels.why(found, 3 if rows >= 30 else 1)
        stages = panels.stages(found, style, columns)
        bridges = panels.bridges(found, style, columns)
        left = rows - len(top) - 1
        least = min(len(found["devices"]["rows"]) + 2, _LEAST)
        if len(stages) + len(bridges) + 2 + least <= left:
            upper = [*stages, [], *bridges, []]
        elif view.panel == "devices":
            upper = []
        else:
            chosen = stages if view.panel == "stages" else bridges
            upper = [*_cut(chosen, max(left - least, 2), columns), []]
        lines = [*top, [], *upper]
        below = self._devices(found, view, style, columns)
        view.page = max(rows - len(lines) - 2, 1)
        return [*lines, *below[: view.page + 2]]

    def _devices(self, found: Document, view: View, style: Style, columns: int) -> list[Line]:
        matching = found["devices"]["matching"]
        title = [panels.devices_title(found, style)]
        if view.filter or view.typing:
            title.append([(f'filter "{view.filter}": {matching:,} match', "bold")])
        shown = len(found["devices"]["rows"])
        if view.offset or shown < matching:
            first, last = view.offset + 1, view.offset + shown
            title.append([(f"{first:,} to {last:,} of {matching:,}", "dim")])
        # In one line, so that the number of rows does not change while one types.
        return [flow(title, 10_000)[0], *panels.devices(found, style, columns, view.sort)]

    def _notice(self, found: Document, view: View) -> list[Line]:
        if self.since:
            last = panels.moment(found["time"] / 1000)
            text = f"NOT REACHABLE since {panels.moment(self.since)}"
            return [[(text, "bad"), (f"  stale: from {last}  {self.why}", "dim")]]
        if view.paused:
            shown = panels.moment(found["time"] / 1000)
            return [[(f"PAUSED since {panels.moment(view.paused)}", "WARNING"),
                     (f"  from {shown}", "")]]  # fmt: skip
        return []

    def _foot(self, view: View, columns: int) -> Line:
        if view.typing:
            return [("/" + view.filter, "bold"), ("_  Enter keeps  Esc clears", "dim")]
        left = "q quit  s sort  p pause  / filter  tab panel  ? help"
        clock = panels.moment(time.time())
        space = columns - width(left) - width(clock)
        return [(left, "dim"), (" " * space + clock if space > 1 else "", "dim")]


def _cut(lines: list[Line], most: int, columns: int) -> list[Line]:
    """At most so many lines; that some are missing is said."""
    if len(lines) <= most:
        return lines
    more = len(lines) - most + 1
    return [*lines[: most - 1], [(f"and {more} more (tab)", "dim")]] if most > 2 else lines[:most]
