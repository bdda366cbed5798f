"""Files of the broker: written whole or not at all, and set aside where they are damaged."""

import logging
import os
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

log = logging.getLogger(__name__)


def write(path: Path, content: str, mode: int = 0o600) -> bool:
    """Make `path` hold `content`; False if it did. Raises OSError; the old content is then whole.

    Not written again where nothing changed: a full disk would leave us without.
    """
    try:
        if path.read_text() == content:
            return False
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return True


def set_aside(path: Path, why: str, given_up: str) -> Path:
    """Rename what cannot be used, so that somebody can still look at it; its new path. given_up:
    what we go on without. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    places = (path.with_name(f"{path.name}.damaged-{stamp}{number}") for number in _numbers())
    there = next(place for place in places if not place.exists())
    path.rename(there)
    log.error("broker: %s %s; set aside as %s. Given up: %s", path, why, there.name, given_up)
    return there


def _numbers() -> Iterator[str]:
    """Nothing, -2, -3 and so on."""
    return chain([""], map("-{}".format, count(2)))


def readable(path: Path, given_up: str) -> str | None:
    """The text of `path`; None if there is none. What is no file of text is set aside.

    Raises OSError.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, IsADirectoryError):
        set_aside(path, "is not a file of text", given_up)
        return None
