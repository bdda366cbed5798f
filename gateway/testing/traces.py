"""What a driver leaves behind."""

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.io import blocking
from gateway.testing.verdict import comes_true, unfit

_SOCKET = "socket:"
_KEPT = (_SOCKET, "/", "pipe:")  # what is looked at among open files
_SOON = 1.0  # within this what has ended is gone, but for what waits to be collected (s)


@dataclass(frozen=True)
class Traces:
    """Threads, tasks and open files of this process at one moment."""

    threads: frozenset[threading.Thread]
    tasks: "frozenset[asyncio.Task[Any]]"
    files: frozenset[str]
    sockets: int

    @classmethod
    def now(cls) -> "Traces":
        """Those there are. Threads that gateway.io.blocking or the event loop keep for the next
        call are no trace: they wait for it at no cost."""
        files = list(_files())
        return cls(
            frozenset(each for each in threading.enumerate() if not _is_kept(each)),
            frozenset(task for task in asyncio.all_tasks() if not task.done()),
            frozenset(each for each in files if not each.startswith(_SOCKET)),
            sum(each.startswith(_SOCKET) for each in files),
        )

    def since(self, before: "Traces") -> list[str]:
        """What is there and was not before, in words."""
        found = [f"thread {each.name}" for each in self.threads - before.threads]
        found += [f"task {each.get_name()}" for each in self.tasks - before.tasks]
        found += [f"open file {each}" for each in self.files - before.files]
        # By number: the other side of a test may have connected anew.
        more = self.sockets - before.sockets
        return sorted(found) + ([f"{more} open sockets"] if more > 0 else [])


async def leaves_nothing(before: Traces, where: str, patience: float) -> None:
    """Raises Unfit if something of the driver's stays."""
    for within in (_SOON, patience):
        if await comes_true(lambda: not Traces.now().since(before), within):
            return
        gc.collect()  # an error keeps the frames it went through, and what they had open
    left = ", ".join(Traces.now().since(before))
    fix = (
        "end it in a finally: of listen() or connect(): cancel and await tasks, join threads, "
        "close files"
    )
    unfit(f"{where} leaves behind: {left}", fix)


def _is_kept(thread: threading.Thread) -> bool:
    if thread.name.startswith("asyncio_"):
        return True
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_filename == blocking.__file__:
            return True
        frame = frame.f_back
    return False


def _files() -> Iterator[str]:
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            target = str(each.readlink())
            if target.startswith(_KEPT) and not target.startswith("/proc/"):
                yield target
