"""What devices were told to do, and what became of it, in the state database.

A command is on the disk before it is carried out: the same one, asked again after a crash, is
known. The newest are kept.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from gateway.io.sqlite.database import Database, statements

_SQL = statements((files(__package__) / "commands.sql").read_text())
KEPT = 10_000
"""How many commands are remembered, of all devices; the oldest go."""
Status = Literal["accepted", "executing", "ok", "failed", "expired", "rejected"]
ENDED: frozenset[Status] = frozenset({"ok", "failed", "expired", "rejected"})
"""Nothing more becomes of a command in one of these."""
LOST = "the gateway stopped before it was known what became of it; it is not tried again"


@dataclass(slots=True)
class Commanded:
    """One command. asked_by: where it came from. Times in ns; expires 0: never."""

    id: str
    device: str
    name: str
    args: Mapping[str, Any]
    asked_by: str
    received: int
    expires: int = 0
    status: Status = "accepted"
    result: Any = None
    error: str = ""
    changed: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED

    def is_as(self, other: "Commanded") -> bool:
        """Whether the same was asked."""
        return (self.device, self.name, dict(self.args)) == (
            other.device, other.name, dict(other.args),
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """For whoever asked: id, status, and result or error where there is one."""
        found: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.status == "ok":
            found["result"] = self.result
        elif self.error:
            found["error"] = self.error
        return found

    def as_dict(self) -> dict[str, Any]:
        """For the API; times in epoch ms."""
        return {
            "id": self.id,
            "device": self.device,
            "name": self.name,
            "args": dict(self.args),
            "asked_by": self.asked_by,
            "received": self.received // 1_000_000,
            "expires": self.expires // 1_000_000 or None,
            "status": self.status,
            "result": self.result,
            "error": self.error or None,
            "changed": self.changed // 1_000_000,
        }


@dataclass(slots=True)
class Commands:
    """See the module. Everything raises sqlite3.Error, OSError where the disk refuses."""

    database: Database
    kept: int = field(default=KEPT)

    async def add(self, command: Commanded) -> Commanded | None:
        """Keep a new one; None if it is on the disk then, else the one that has this id already."""
        row = (
            command.id, command.device, command.name, json.dumps(dict(command.args)),
            command.asked_by, command.received, command.expires, command.status,
            json.dumps(command.result), command.error, command.changed,
        )  # fmt: skip

        def write(connection: Any) -> Any:
            before = connection.execute(_SQL["one"], (command.id,)).fetchone()
            if before is None:
                connection.execute(_SQL["add"], row)
                connection.execute(_SQL["trim"], (self.kept,))
            return before

        before = await self.database.write(write)
        return None if before is None else _command(before)

    async def save(self, command: Commanded) -> None:
        """Keep what has become of it."""
        row = (
            command.status, json.dumps(command.result), command.error, command.changed, command.id,
        )  # fmt: skip
        await self.database.write(lambda c: c.execute(_SQL["save"], row))

    async def find(self, identity: str) -> Commanded | None:
        """The one with this id."""
        row = await self.database.read(lambda c: c.execute(_SQL["one"], (identity,)).fetchone())
        return None if row is None else _command(row)

    async def latest(self, device: str, limit: int) -> list[Commanded]:
        """A device's last ones, the newest first."""
        rows = await self.database.read(
            lambda c: c.execute(_SQL["latest"], (device, limit)).fetchall()
        )
        return list(map(_command, rows))

    async def give_up(self, now: int) -> list[Commanded]:
        """Those that an earlier run has not ended, ended as failed: nobody knows whether they
        were carried out, and they are carried out no more."""

        def write(connection: Any) -> list[Any]:
            rows = connection.execute(_SQL["open"]).fetchall()
            lost = [("failed", "null", LOST, now, row[0]) for row in rows]
            connection.executemany(_SQL["save"], lost)
            return list(rows)

        found = list(map(_command, await self.database.write(write)))
        for command in found:
            command.status, command.error, command.changed = "failed", LOST, now
        return found

    async def forget(self, device: str) -> None:
        """Forget a device's commands that have ended."""
        await self.database.write(lambda c: c.execute(_SQL["forget"], (device,)))


def _command(row: tuple[Any, ...]) -> Commanded:
    found = Commanded(*row)
    args = _json(row[3])
    found.args, found.result = args if isinstance(args, dict) else {}, _json(row[8])
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # a damaged row: what it was is lost, that it was is not
        return None
