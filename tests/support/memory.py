"""A memory limit of the kernel around processes, as MemoryMax= sets it for a unit."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(size: int) -> Iterator[Path]:
    """A group for processes that may take `size` bytes together: write their ids to `cgroup.procs`
    in it (cgroups(7), versions 1 and 2)."""
    first = (_ROOT / "memory").is_dir()
    group = (_ROOT / "memory" if first else _ROOT) / f"berrygate-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(size))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no memory limits to be had here: {error}")
    try:
        yield group
    finally:
        group.rmdir()
