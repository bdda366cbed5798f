"""A quick look at what is stored. `berrygate check --store` looks at every block and chunk."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from gateway.bus.block import CorruptBlockError
from gateway.bus.segment import open_segment
from gateway.doctor.findings import Finding, Scene, fail, is_there, matching, ok, skip, warn

_LONGEST = 4.0  # s; a large database on a slow card is looked at in part
_STEPS = 10_000  # of SQLite's machine between two looks at the time
_FIX = "berrygate check --store tells more; a restart sets aside what is damaged and keeps the rest"


def journal(scene: Scene) -> list[Finding]:
    """Whether each segment begins as it should, and whether some were set aside."""
    check = "store.journal"
    directory = scene.data_dir / "journal"
    paths = matching(directory, "*.seg")
    if not paths:
        return [skip(check, "no journal to be seen")]
    bad = [path.name for path in paths if not _opens(path)]
    if bad:
        return [fail(check, f"cannot be read: {', '.join(bad)}", _FIX)]
    aside = [path.name for path in matching(directory, "*.damaged*")]
    if aside:
        fix = f"copy them elsewhere, then remove them: rm {directory}/*.damaged*"
        return [warn(check, f"damaged and set aside earlier: {', '.join(aside)}", fix)]
    return [ok(check, f"{len(paths)} segment(s) begin as they should")]


def _opens(path: Path) -> bool:
    try:
        open_segment(path)
    except FileNotFoundError:
        return True  # retention was quicker
    except (CorruptBlockError, OSError):
        return False
    return True


def databases(scene: Scene) -> list[Finding]:
    """SQLite's own quick check of state and history, without a lock that others would wait for."""
    check = "store.databases"
    paths = [scene.data_dir / name for name in ("state.db", "history.db")]
    found = [_checked(check, path) for path in paths if is_there(path)]
    return found or [skip(check, "none to be seen")]


def _checked(check: str, path: Path) -> Finding:
    deadline = time.monotonic() + _LONGEST
    late = [False]

    def enough() -> bool:
        late[0] = time.monotonic() > deadline
        return late[0]

    try:
        uri = f"file:{path.absolute()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            connection.set_progress_handler(enough, _STEPS)
            said = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.Error as error:
        if late[0]:
            return ok(check, f"sound as far as {_LONGEST:g} s reach", path.name)
        if "unable to open" in str(error):
            return skip(check, "may not be read by this user", path.name)
        return fail(check, str(error), _FIX, path.name)
    if said != ["ok"]:
        return fail(check, "; ".join(said)[:200], _FIX, path.name)
    return ok(check, "sound", path.name)
