"""Lines of coloured text that fit a screen, and tables that leave out what does not fit."""

import os
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.cli.common import ICONS, colored, plain

Piece = tuple[str, str]
"""A text, and its look (a level, bad, dim, bold, or "")."""
Line = list[Piece]

_SIMPLE = str.maketrans({"…": "~", "←": "<", "█": "#", "°": " ", "▼": "v"})
_SHAPES = {
    "EXCELLENT": "+",
    "GOOD": "o",
    "WARNING": "!",
    "CRITICAL": "#",
    "FAILED": "X",
    "UNKNOWN": "?",
}
_GAP = "  "


def knows_shapes() -> bool:
    """Whether the terminal can show more than ASCII: by its locale, and by its font; that of the
    Linux console has no shapes."""
    if os.environ.get("TERM") in ("linux", "vt100", "vt220"):
        return False
    if "utf" not in (sys.stdout.encoding or "").lower():
        return False
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next(filter(None, names), "C.UTF-8")
    return "utf" in locale.lower()


@lru_cache(maxsize=4096)
def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """How many columns a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def clip(text: str, columns: int) -> str:
    """As much of a text as has room; that something is missing is shown."""
    if width(text) <= columns:
        return text
    kept, room = "", columns - 1
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        kept += char
    return kept + "…" if columns > 0 else ""


@dataclass(frozen=True, slots=True)
class Style:
    """How lines become what is written. shapes: the terminal has more than ASCII. stale: nothing
    of it is live, so nothing of it is coloured as if it were."""

    shapes: bool = True
    stale: bool = False

    def level(self, name: str, word: str = "") -> Piece:
        """A level by shape, word and colour."""
        shape = (ICONS if self.shapes else _SHAPES).get(name, "")
        return f"{shape} {word or name}", name

    def draw(self, line: Line, columns: int) -> str:
        """A line of exactly `columns` columns."""
        room, drawn = columns, ""
        for text, look in line:
            part = clip(text if self.shapes else _ascii(text), room)
            part = part if self.shapes else _ascii(part)
            room -= width(part)
            drawn += colored(part, "dim" if self.stale else look)
            if room <= 0:
                break
        return drawn + " " * max(room, 0)


def _ascii(text: str) -> str:
    return text.translate(_SIMPLE).encode("ascii", "replace").decode()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. rank: the higher, the sooner it is left out; 0 never. right: numbers.
    most: no wider than this, whatever is in it. look: of its head."""

    head: str
    rank: int = 0
    right: bool = False
    most: int = 200
    look: str = "dim"
    cells: list[Piece] = field(default_factory=list)

    @property
    def columns(self) -> int:
        """How wide it wants to be."""
        widest = max((width(text) for text, _ in self.cells), default=0)
        return min(max(width(self.head), widest), self.most)


def table(columns: Sequence[Column], room: int) -> list[Line]:
    """The head and a line for each row. What does not fit is left out, then the last column is
    clipped, then the first."""
    shown = list(columns)
    while _needed(shown, least=12) > room and any(column.rank for column in shown):
        shown.remove(max(shown, key=lambda column: column.rank))
    widths = [column.columns for column in shown]
    over = sum(widths) + len(_GAP) * (len(shown) - 1) - room
    for place in (len(shown) - 1, 0):
        if over > 0:
            cut = min(over, max(widths[place] - 8, 0))
            widths[place] -= cut
            over -= cut
    rows = zip(*([(c.head, c.look), *c.cells] for c in shown), strict=True)
    return [_row(cells, shown, widths) for cells in rows]


def _needed(shown: Sequence[Column], least: int) -> int:
    """How much room it takes if the last column is cut to `least`."""
    widths = [column.columns for column in shown]
    widths[-1] = min(widths[-1], least)
    return sum(widths) + len(_GAP) * (len(shown) - 1)


def _row(cells: Sequence[Piece], shown: Sequence[Column], widths: Sequence[int]) -> Line:
    line: Line = []
    for (text, look), column, columns in zip(cells, shown, widths, strict=True):
        part = clip(text, columns)
        space = " " * (columns - width(part))
        line += [(space, ""), (part, look)] if column.right else [(part, look), (space, "")]
        line.append((_GAP, ""))
    return line[:-1]


def flow(pieces: Sequence[Line], room: int) -> list[Line]:
    """Groups of pieces, as many in a line as fit; none is broken in two."""
    lines: list[Line] = []
    left = 0
    for group in pieces:
        needs = sum(width(text) for text, _ in group)
        if lines and needs + len(_GAP) <= left:
            lines[-1] += [(_GAP, ""), *group]
            left -= needs + len(_GAP)
        else:
            lines.append(list(group))
            left = room - needs
    return lines


def said(text: object) -> str:
    """What strangers wrote, so that it cannot command the terminal."""
    return plain(text)
