"""What is remembered of earlier boots, in a small file beside the journal.

The journal's own stamps tell it for the boots of its last two segments; this reaches further back.
It can be lost: then times of older boots stay as they were, marked.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.bus.segment import sync_directory
from gateway.bus.times import Boot

log = logging.getLogger(__name__)

_LARGEST = 1_000_000


def read_boots(path: Path) -> list[Boot]:
    """The boots in the file, oldest first; none if it is not there or is no such file."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LARGEST), type=list[Boot])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.error("clock: %s cannot be read (%s); earlier boots are forgotten", path, error)
        return []


def write_boots(path: Path, boots: Sequence[Boot]) -> None:
    """Write the file, whole or not at all. Raises OSError."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(boots))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)
