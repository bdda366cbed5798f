"""Commands on their way from whoever asks to the driver that carries them out.

One at a time for each device, in the order they came; a driver that orders them itself is given
each at once. A command is on the disk before it is begun; asked again with the same id it is
answered, not repeated. What is late is not begun, whatever it waited for; what a stopped gateway
left behind is given up.
"""

import asyncio
import logging
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from gateway.core.contracts import Reply
from gateway.core.errors import BerrygateError, Conflict, Throttled, Unavailable
from gateway.runtime.command_targets import Asked, Find, Target, carried_out, checked, fits, limited
from gateway.store.commands import LOST, Commanded, Commands, Status

log = logging.getLogger(__name__)

WAITING = 16
"""How many commands may wait for one device, or for one thing at a device whose driver orders them
itself; more are refused."""
WAITING_IN_ALL = 512
_RETRY = 1.0
_LATE = "it came too late"
_NOT_BEGUN = "the gateway stopped before it was begun; it is not tried again"

Tell = Callable[[Commanded], None]


class _Job:
    """A command that has not ended. deadline: when it is late by a clock that is never set."""

    def __init__(self, command: Commanded, target: Target, now: int) -> None:
        self.command = command
        self.target = target
        self.deadline = time.monotonic() + (command.expires - now) / 1e9
        self.over = asyncio.Event()
        self.observers: list[Tell] = []

    @property
    def queue(self) -> tuple[str, str]:
        """Among which others it waits."""
        return self.command.device, self.command.name if self.target.at_once else ""

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline or time.time_ns() >= self.command.expires


class Commanding:
    """See the module. find: whoever carries out a device's commands. tell: told each step of each.
    synced: whether our clock can tell what is late.

    counts: how many ended how, or were refused, since the start.
    """

    def __init__(
        self, store: Commands, find: Find, tell: Tell, synced: Callable[[], bool] = lambda: True
    ) -> None:
        self.store = store
        self.counts: Counter[str] = Counter()
        self.tell = tell
        self._find = find
        self._synced = synced
        self._jobs: dict[str, _Job] = {}
        self._queues: dict[str, deque[_Job]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._begun: set[asyncio.Task[None]] = set()  # of drivers that order them themselves
        self._closed = False

    async def run(self) -> None:
        """Until cancelled; first what an earlier run left behind is given up, and told."""
        while True:
            try:
                left = await self.store.give_up(time.time_ns())
                break
            except (sqlite3.Error, OSError):
                await asyncio.sleep(_RETRY)
        for command in left:
            self._tell(command, ())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._closed = True
            tasks = [*self._workers.values(), *self._begun]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._give_up()

    async def _give_up(self) -> None:
        """We stop: what has not ended is carried out no more, and whoever waits is told."""
        for job in list(self._jobs.values()):
            if not job.command.ended:
                begun = job.command.status == "executing"
                job.command.error = LOST if begun else _NOT_BEGUN
                self._step(job, "failed")
            await self._saved(job.command)
            self._ended(job)

    def what(self, device: str) -> dict[str, Any]:
        """What a device can be told: takes, why (not), schemas (by name; None where its source
        does not know). Raises LookupError."""
        try:
            schemas = self._find(device).schemas
        except Conflict as error:
            return {"takes": False, "why": str(error), "schemas": None}
        return {"takes": True, "why": None, "schemas": schemas and dict(schemas)}

    async def ask(self, asked: Asked, observer: Tell | None = None) -> tuple[Commanded, bool]:
        """Take a command; how it stands, and whether it had come before. observer: told of each
        step from now on.

        Raises LookupError (no such device), Rejected (it is refused for what it is, and would be
        again), Conflict (the device takes none, or the id is taken), Unavailable, Throttled.
        """
        try:
            return await self._ask(asked, observer)
        except (BerrygateError, LookupError):
            self.counts["rejected"] += 1
            raise

    async def _ask(self, asked: Asked, observer: Tell | None) -> tuple[Commanded, bool]:
        now = time.time_ns()
        command = checked(asked, now)
        if (job := self._jobs.get(command.id)) is not None:
            return self._again(job.command, command, observer)
        if asked.id and (before := await self._remembered(asked.id)) is not None:
            return self._again(before, command, observer)
        if (job := self._jobs.get(command.id)) is not None:  # it came meanwhile
            return self._again(job.command, command, observer)
        target = self._find(command.device)
        fits(command, target)
        if asked.expires and not self._synced():
            raise Conflict(
                "the gateway's clock is not set: nobody can tell whether this is too late",
                fix="send it without expires, or wait until the clock is set",
            )
        if command.expires <= now:
            command.status, command.error, command.changed = "expired", _LATE, now
            self._tell(command, [observer] if observer else [])
            return command, False
        job = _Job(command, target, now)
        self._make_room(job)
        self._jobs[command.id] = job
        if observer is not None:
            job.observers.append(observer)
        before = await self._kept(job)
        if before is not None:
            return self._again(before, command, observer)
        self._tell(command, job.observers)
        self._enqueue(job)
        return command, False

    async def wait(self, identity: str, timeout: float) -> Commanded:
        """How a command stands once it has ended, or after so long (s). Raises LookupError,
        Unavailable."""
        job = self._jobs.get(identity)
        if job is None:
            return await self.find(identity)
        try:
            async with asyncio.timeout(timeout):
                await job.over.wait()
        except TimeoutError:
            pass
        return job.command

    async def find(self, identity: str) -> Commanded:
        """How a command stands. Raises LookupError, Unavailable."""
        job = self._jobs.get(identity)
        found = job.command if job is not None else await self._remembered(identity)
        if found is None:
            raise LookupError(f'no command "{identity}"')
        return found

    async def latest(self, device: str, limit: int = 50) -> list[Commanded]:
        """A device's last commands, the newest first. Raises Unavailable."""
        try:
            found = await self.store.latest(device, limit)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"commands cannot be read: {error}") from error
        return [job.command if (job := self._jobs.get(c.id)) else c for c in found]

    # -- taking -----------------------------------------------------------------------------

    async def _remembered(self, identity: str) -> Commanded | None:
        try:
            return await self.store.find(identity)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"nobody can tell whether this was done: {error}") from error

    def _again(
        self, before: Commanded, command: Commanded, observer: Tell | None
    ) -> tuple[Commanded, bool]:
        if not before.is_as(command):
            raise Conflict(
                f'the id "{command.id}" was another command\'s: {before.name} of {before.device}',
                fix="give each command an id of its own",
            )
        self.counts["repeated"] += 1
        job = self._jobs.get(command.id)
        if job is not None and observer is not None:
            job.observers.append(observer)
        return before, True

    def _make_room(self, job: _Job) -> None:
        waiting = sum(other.queue == job.queue for other in self._jobs.values())
        if waiting >= WAITING or len(self._jobs) >= WAITING_IN_ALL:
            whose = f"for {job.command.device}" if waiting >= WAITING else "in all"
            raise Throttled(f"too many commands wait {whose}", after=1.0, fix="ask again later")

    async def _kept(self, job: _Job) -> Commanded | None:
        """Write it down: what is not on the disk is not done. The one that had its id before."""
        try:
            before = await self.store.add(job.command)
        except (sqlite3.Error, OSError) as error:
            self._ended(job)
            raise Unavailable(
                f"the command cannot be written down, and is not done: {error}",
                fix="see that the disk has room: berrygate doctor",
            ) from error
        except BaseException:
            self._ended(job)
            raise
        if before is not None:
            self._ended(job)
        return before

    # -- doing ------------------------------------------------------------------------------

    def _enqueue(self, job: _Job) -> None:
        device = job.command.device
        if job.target.at_once:
            self._begin(job)
            return
        self._queues.setdefault(device, deque()).append(job)
        if device not in self._workers and not self._closed:
            task = asyncio.create_task(self._work(device), name=f"commands of {device}")
            self._workers[device] = task

    def _begin(self, job: _Job) -> None:
        if self._closed:
            return
        task = asyncio.create_task(self._do(job), name=f"command {job.command.id}")
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _work(self, device: str) -> None:
        """One command of a device after the other, as long as there are any."""
        queue = self._queues[device]
        try:
            while queue:
                await self._do(queue[0])
                queue.popleft()
        finally:
            del self._workers[device]
            if not queue:
                self._queues.pop(device, None)

    async def _do(self, job: _Job) -> None:
        command = job.command
        if job.late:
            reply = Reply("expired", error=_LATE)
        else:
            self._step(job, "executing")
            reply = await carried_out(command, job.target, job.deadline)
        command.result, command.error = limited(reply.result), reply.error
        command.status, command.changed = reply.status, time.time_ns()
        kept = await self._saved(command)  # first: the next run must not say otherwise
        self._step(job, reply.status)
        log.info(
            "command %s of %s (%s, from %s): %s%s", command.name, command.device, command.id,
            command.asked_by, command.status, f": {command.error}" if command.error else "",
        )  # fmt: skip
        while not kept:
            await asyncio.sleep(_RETRY)
            kept = await self._saved(command)
        self._ended(job)

    def _step(self, job: _Job, status: Status) -> None:
        job.command.status, job.command.changed = status, time.time_ns()
        if job.command.ended:
            job.over.set()
        self._tell(job.command, job.observers)

    async def _saved(self, command: Commanded) -> bool:
        try:
            await self.store.save(command)
        except (sqlite3.Error, OSError) as error:
            log.error("command %s: its outcome cannot be kept yet: %s", command.id, error)
            return False
        return True

    def _ended(self, job: _Job) -> None:
        job.over.set()
        self._jobs.pop(job.command.id, None)

    def _tell(self, command: Commanded, observers: list[Tell] | tuple[Tell, ...]) -> None:
        if command.ended:
            self.counts[command.status] += 1
        for tell in (self.tell, *observers):
            tell(command)
