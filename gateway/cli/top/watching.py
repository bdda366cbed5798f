"""`berrygate top`: asks each interval, draws what came, and listens to keys in between."""

import json
import os
import select
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from gateway.cli.client import candidates
from gateway.cli.common import CliError, Exit
from gateway.cli.top.feed import Feed
from gateway.cli.top.figures import Figures, unreachable
from gateway.cli.top.screen import Screen, View
from gateway.cli.top.terminal import Ended, Keys, Terminal, size
from gateway.cli.top.text import knows_shapes

_ESCAPE = 0.05  # an Escape that nothing follows for so long was the key (s)
_COLUMNS = 120  # of a page that is printed to no terminal
_PRINTED = 20  # devices on a page that is printed
_LONGEST = 64  # characters of a filter; no id has more
_MOST = 500  # rows of one answer

Document = dict[str, Any]


def top(args: Namespace) -> int:
    """Show the running gateway until told to end. Raises CliError where there is none."""
    feed = Feed(candidates(args))
    try:
        live = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        if args.json:
            return _documents(feed, args.interval, args.once)
        if args.once or not live:
            return _page(feed, args.interval)
        return _watch(feed, args.interval)
    finally:
        feed.close()


def _first(feed: Feed, **asked: Any) -> Document:
    feed.ask("overview", **asked)
    answer = feed.wait()
    if answer is None:
        fix = "berrygate run, or name its configuration with -c"
        raise CliError(feed.trouble, Exit.UNREACHABLE, fix)
    assert isinstance(answer, dict), "an overview is an object"
    return answer


def _page(feed: Feed, interval: float) -> int:
    figures, view = Figures(), View(page=_PRINTED)
    figures.take(_first(feed, limit=_PRINTED))
    time.sleep(interval)
    found = figures.take(_first(feed, limit=_PRINTED))
    columns = size(sys.stdout.fileno())[0] if sys.stdout.isatty() else _COLUMNS
    print("\n".join(Screen(knows_shapes()).whole(found, view, columns)))
    return Exit.OK


def _documents(feed: Feed, interval: float, once: bool) -> int:
    """One JSON document a line; where the gateway is away, one that says so."""
    figures, since = Figures(), 0.0
    figures.take(_first(feed, limit=_PRINTED))
    while True:
        time.sleep(interval)
        feed.ask("overview", limit=_PRINTED)
        answer = feed.wait()
        if answer is None:
            figures.forget()
            since = since or time.time()
        else:
            since = 0.0
        found = unreachable(since, feed.trouble) if answer is None else figures.take(answer)
        print(json.dumps(found, ensure_ascii=False), flush=True)
        if once:
            return Exit.OK if answer is not None else Exit.UNREACHABLE


def _watch(feed: Feed, interval: float) -> int:
    answer = _first(feed)  # without a gateway the terminal stays as it is
    try:
        with Terminal().ours() as terminal:
            Watch(feed, terminal, interval, answer).run()
    except Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        signal.raise_signal(ended.number)
    return Exit.OK


class Watch:
    """The screen while it is shown. first: the first answer."""

    def __init__(self, feed: Feed, terminal: Terminal, interval: float, first: Document) -> None:
        self._feed = feed
        self._terminal = terminal
        self._interval = interval
        self._figures = Figures()
        self._screen = Screen(knows_shapes())
        self._view = View()
        self._keys = Keys()
        self._found = self._figures.take(first)
        self._next = 0.0
        self._over = False

    def run(self) -> None:
        """Until a key ends it. Raises Ended."""
        drawn, dirty = 0, True
        while not self._over:
            now = int(time.time())
            if dirty or now != drawn or self._terminal.resized:  # the clock in the foot goes on
                self._draw()
                drawn = now
            self._reach(self._ask)
            keys = self._terminal.read(self._keys, self._wait())
            for key in keys:
                self._key(key)
            dirty = self._reach(self._take) or bool(keys)

    def _draw(self) -> None:
        size, page = self._terminal.size, self._view.page
        lines = self._screen.frame(self._found, self._view, *size)
        if self._terminal.size == size:  # else it is drawn anew at once, and this would stay behind
            self._terminal.show(lines)
        if self._view.page != page:
            self._hurry()

    def _reach(self, do: Callable[[], bool]) -> bool:
        """What the gateway refuses now it may grant once it runs again, or is another version."""
        try:
            return do()
        except CliError as error:
            self._feed.trouble = str(error)
            return False

    def _ask(self) -> bool:
        now = time.monotonic()
        if now < self._next or self._feed.waiting:
            return False
        self._next = now + self._interval
        view = self._view
        self._feed.ask(
            "overview",
            sort=view.sort,
            filter=view.filter,
            limit=min(view.page, _MOST),
            offset=view.offset,
        )
        return True

    def _wait(self) -> list[int]:
        timeout = max(self._next - time.monotonic(), 0.0)
        if self._feed.waiting:
            timeout = 1.0  # a gateway that hangs is noticed by the clock
        if self._keys.pending:
            timeout = min(timeout, _ESCAPE)
        timeout = min(timeout, 1.0)
        files = [*self._terminal.inputs]
        if (connection := self._feed.fileno()) is not None:
            files.append(connection)
        return select.select(files, [], [], timeout)[0]

    def _take(self) -> bool:
        """Whether there is something new to show."""
        answer = self._feed.take()
        if answer is not None:
            self._screen.since, self._screen.why = 0.0, ""
            self._found = self._figures.take(answer)
            self._view.offset = min(
                self._view.offset, max(self._found["devices"]["matching"] - 1, 0)
            )
            if self._view.paused:
                self._next = float("inf")
        elif self._feed.trouble and not self._screen.since:
            self._screen.since, self._screen.why = time.time(), self._feed.trouble
            self._figures.forget()
            self._view.paused = 0.0  # or nobody would ask whether it is back
            self._next = time.monotonic() + self._interval
        else:
            return False
        return True

    def _hurry(self) -> None:
        self._next = 0.0

    # -- keys -------------------------------------------------------------------------------

    def _key(self, key: str) -> None:
        view = self._view
        if view.typing:
            self._type(key)
        elif view.help:
            view.help = False
        elif key in ("up", "down", "pageup", "pagedown", "home", "end"):
            self._scroll(key)
        elif key in ("q", "Q"):
            self._over = True
        elif key == "s":
            view.next_sort()
            self._hurry()
        elif key == "p":
            self._pause()
        elif key in ("?", "h"):
            view.help = True
        else:
            self._filter_or_panel(key)

    def _filter_or_panel(self, key: str) -> None:
        if key == "/":
            self._view.typing = True
        elif key == "escape":
            self._filter("")
        elif key == "tab":
            self._view.next_panel()

    def _pause(self) -> None:
        view = self._view
        if self._screen.since:
            return  # nothing comes that could be held
        view.paused = 0.0 if view.paused else time.time()
        self._next = float("inf") if view.paused else 0.0

    def _scroll(self, key: str) -> None:
        matching = self._found["devices"]["matching"]
        page = self._view.page
        rows = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -matching}
        self._view.scroll(rows.get(key, matching), matching)
        self._hurry()

    def _type(self, key: str) -> None:
        view = self._view
        if key == "enter":
            view.typing = False
        elif key == "escape":
            view.typing = False
            self._filter("")
        elif key == "backspace":
            self._filter(view.filter[:-1])
        elif len(key) == 1 and key.isprintable() and len(view.filter) < _LONGEST:
            self._filter(view.filter + key.lower())

    def _filter(self, text: str) -> None:
        self._view.filter, self._view.offset = text, 0
        self._hurry()
