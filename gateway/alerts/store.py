"""Alerts, silences, and what is still to be told, in the state database.

What an alert is, what it has been told and the messages themselves are written in one
transaction: a message that is sent has been stored, and one that is stored is sent.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from importlib.resources import files
from typing import Any

from gateway.alerts.alert import Alert, State
from gateway.alerts.silences import Silence
from gateway.alerts.wording import Notification
from gateway.io.sqlite.database import Database, statements

PATIENCE = 1.5
"""Longest that a disk is waited for before things go on without it (s)."""
_SQL = statements((files(__package__) / "store.sql").read_text())


class Store:
    """See the module. Everything raises sqlite3.Error, OSError where the disk refuses."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def alerts(self) -> list[Alert]:
        """What is stored; one that cannot be made sense of is left out. Blocks."""
        rows = self.database.load(lambda c: c.execute(_SQL["alerts"]).fetchall())
        return [alert for row in rows if (alert := _alert(row)) is not None]

    def notifications(self) -> list[Notification]:
        """What is still to be told, the oldest first. Blocks."""
        rows = self.database.load(lambda c: c.execute(_SQL["notifications"]).fetchall())
        return [Notification(*row) for row in rows]

    def seen(self) -> int | None:
        """Up to where readings have been looked at; None: that is not known. Blocks."""
        row = self.database.load(lambda c: c.execute(_SQL["seen"]).fetchone())
        return None if row is None else int(row[0])

    async def unseen(self) -> None:
        """Nobody looks at readings any more."""
        await self.database.write(lambda c: c.execute(_SQL["unseen"]))

    def silences(self) -> list[Silence]:
        """Every silence. Blocks."""
        rows = self.database.load(lambda c: c.execute(_SQL["silences"]).fetchall())
        return [_silence(*row) for row in rows]

    async def save(
        self,
        alerts: Sequence[Alert],
        over: Iterable[int],
        notifications: Sequence[Notification],
        seen: int | None,
    ) -> None:
        """All of this or nothing; durable once it returns. seen: see there; None: as it was."""
        rows = [_row(alert) for alert in alerts]
        states = [alert.state for alert in alerts]
        gone = [(number,) for number in over]
        messages = [astuple(each) for each in notifications]

        def write(connection: Any) -> None:
            connection.executemany(_SQL["forget"], gone)
            connection.executemany(_SQL["save"], rows)
            connection.executemany(_SQL["add_notification"], messages)
            if seen is not None:
                connection.execute(_SQL["save_seen"], (seen,))

        await self.database.write(write)
        for alert, state in zip(alerts, states, strict=True):
            alert.stored = state

    async def sent(self, numbers: Iterable[int]) -> None:
        """These have been told, or given up. Raises TimeoutError, an OSError, where the disk does
        not answer: nobody may wait for it who has others to tell."""
        gone = [(number,) for number in numbers]
        async with asyncio.timeout(PATIENCE):
            await self.database.write(lambda c: c.executemany(_SQL["sent"], gone))

    async def add_silence(self, silence: Silence) -> None:
        """Keep one."""
        row = (
            silence.id, silence.rule, silence.source, silence.start, silence.end,
            json.dumps(dict(silence.labels)), silence.by, silence.comment,
        )  # fmt: skip
        await self.database.write(lambda c: c.execute(_SQL["add_silence"], row))

    async def end_silences(self, numbers: Iterable[int]) -> None:
        """Forget these. Raises TimeoutError likewise."""
        gone = [(number,) for number in numbers]
        async with asyncio.timeout(PATIENCE):
            await self.database.write(lambda c: c.executemany(_SQL["end_silence"], gone))


def _row(alert: Alert) -> tuple[Any, ...]:
    return (
        alert.id, alert.rule, alert.source, alert.severity, alert.state.value, alert.since,
        alert.fired, alert.ended, json.dumps(alert.value), alert.limit, alert.message,
        json.dumps(dict(alert.labels)), alert.count, alert.flaps, alert.acknowledged, alert.by,
        json.dumps(alert.told), json.dumps(alert.steps),
    )  # fmt: skip


def _silence(
    number: int, rule: str, source: str, start: int, end: int, labels: str, by: str, comment: str
) -> Silence:
    return Silence(number, rule, source, start, end, _dict(labels), by, comment)


def _alert(row: tuple[Any, ...]) -> Alert | None:
    try:
        state, value = State(row[4]), json.loads(row[8])
    except ValueError:  # a damaged row; the alert comes back if it is still so
        return None
    names = [each.name for each in fields(Alert)][: len(row)]
    told = dict(zip(names, row, strict=True))
    told |= {name: _dict(told[name]) for name in ("labels", "told", "steps")}
    return Alert(**{**told, "state": state, "value": value, "stored": state})


def _dict(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
