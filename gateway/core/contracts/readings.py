"""What was measured: one report of one device."""

from enum import IntFlag

import msgspec

Value = float | int | bool | str
"""One measured value. Numbers are floats unless a device declares otherwise, so that `21` and
`21.5` never clash in a typed store."""


class Flag(IntFlag):
    """Marks on a reading; kept in the journal."""

    NONE = 0
    UNSYNCED = 1  # taken before the clock was set
    LATE = 2  # waited somewhere before it reached us
    HISTORICAL = 4  # replayed on request
    FORWARDED = 8  # came from another gateway's mqtt bridge; such a bridge passes it on no more


class Reading(msgspec.Struct, gc=False):
    """One report of one device at one time.

    device: id, `[a-z0-9_-]+`. time: ns since the epoch, UTC. values: metric -> value; metric
    names are dotted paths. flags: `Flag`, an int because IntFlag arithmetic costs a microsecond.
    """

    device: str
    time: int
    values: dict[str, Value]
    flags: int = 0
