"""Ids and patterns on them."""

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

RESERVED = frozenset({"gateway"})
"""Ids that no device may have: they are levels of our own topics."""
MAX_LENGTH = 64

_NOT_ID = re.compile(r"[^a-z0-9_-]+")


def slug(original: str) -> str:
    """`original` as an id: lower case, accents dropped, everything else `-`; "" if nothing is left.

    Two originals may give one id; whoever keeps them adds a suffix then.
    """
    plain = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode()
    return _NOT_ID.sub("-", plain.lower()).strip("-")[:MAX_LENGTH]


def device_hash(device: str) -> int:
    """A number for a device id, the same in every run: it says which lane a device has."""
    return zlib.crc32(device.encode())


def device_filter(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A test on device ids: any of `patterns` matches, and none that starts with `!` does."""
    wanted = [p for p in patterns if not p.startswith("!")] or ["*"]
    unwanted = [p[1:] for p in patterns if p.startswith("!")]

    def matches(device: str) -> bool:
        return any(fnmatchcase(device, p) for p in wanted) and not any(
            fnmatchcase(device, p) for p in unwanted
        )

    return matches
