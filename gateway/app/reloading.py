"""From the configuration in use to the one in the file: on a signal, a command or a change.

What cannot be used is refused and nothing is touched. With a trial the old one comes back unless
somebody says in time that the new one is to stay: whoever changes how a far-away gateway is
reached cannot lock themselves out.
"""

import asyncio
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.app.wiring import Wiring
from gateway.config import Config, InvalidConfig, find, load
from gateway.config.changes import changes
from gateway.config.load import LOOKED_AT
from gateway.config.trial import Trial
from gateway.core.errors import BerrygateError, ConfigError
from gateway.runtime.notify import notify

log = logging.getLogger(__name__)

_LOOK = 1.0  # between looks at a watched file (s)

_Seen = tuple[int, int, int]


class Reloader:
    """One reload at a time. file: what is read; where the gateway was started with the built-in
    configuration, the file that is found by then."""

    def __init__(self, wiring: Wiring, file: Path | None, trial: Trial) -> None:
        self._wiring = wiring
        self._file = file
        self._trial = trial
        self._one = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._going_back: asyncio.Task[None] | None = None
        self._before: Config | None = None
        self._until = 0.0
        self._loaded = time.time_ns()
        self._last: dict[str, Any] | None = None

    def by_signal(self) -> None:
        """SIGHUP."""
        self._wanted.set()

    async def run(self) -> None:
        """Reload on signals, and on changes of the file where that is wanted, until cancelled."""
        seen = tried = self._look()
        while True:
            try:
                async with asyncio.timeout(_LOOK if self._wiring.config.reload.watch else None):
                    await self._wanted.wait()
            except TimeoutError:
                now = self._look()
                # Twice the same: whoever is writing it has finished.
                settled, seen = now == seen, now
                if now == tried or not settled:
                    continue
            self._wanted.clear()
            seen = tried = self._look()
            await self.reload()

    def _look(self) -> _Seen | None:
        try:
            found = (self._file or Path()).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    async def reload(self, confirm: float | None = None) -> dict[str, Any]:
        """Read the file and go over to it. confirm: go back after so many seconds unless `keep`
        is called by then. Never raises: what was wrong is in what it returns, as `problems`."""
        async with self._one:
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                answer = await self._reload(confirm)
            except InvalidConfig as error:
                answer = {"ok": False, "problems": [asdict(each) for each in error.problems]}
            except (BerrygateError, OSError) as error:
                fix = getattr(error, "fix", None) or ""
                answer = {"ok": False, "problems": [{"message": str(error), "fix": fix}]}
            finally:
                notify("READY=1")
        self._last = {"time": time.time_ns() // 1_000_000, "ok": answer["ok"]}
        if not answer["ok"]:
            said = "; ".join(problem["message"] for problem in answer["problems"])
            self._last["error"] = said
            log.error("config: refused, the one in use stays: %s", said)
        return {"file": str(self._file) if self._file else None, **answer}

    async def _reload(self, confirm: float | None) -> dict[str, Any]:
        if confirm is not None and self._going_back is not None:
            raise ConfigError(
                "a configuration is on trial already", fix="berrygate reload --keep, then this"
            )
        file = self._file or find()
        if file is None:
            raise ConfigError("there is no configuration file", fix=f"write one: {LOOKED_AT[-1]}")
        config = await asyncio.to_thread(load, file)
        old = self._wiring.config
        if fixed := changes(old, config).fixed:
            raise ConfigError(
                f"a running gateway cannot change {' and '.join(fixed)}",
                fix="start it again: sudo systemctl restart berrygate",
            )
        if confirm is not None:
            if not self._trial.possible:
                raise ConfigError("there is no configuration to go back to", fix="leave --confirm")
            await asyncio.to_thread(self._trial.begin, file)
        try:
            found = await self._wiring.apply(config)
        except Exception:
            await asyncio.to_thread(self._trial.keep, None)
            raise
        self._file, self._loaded = file, time.time_ns()
        if confirm is None:
            await self._keep()
        else:
            self._before, self._until = old, time.monotonic() + confirm
            self._going_back = asyncio.create_task(self._go_back(confirm), name="going back")
        log.info("config: %s", "in use" if found else "nothing has changed")
        return {"ok": True, "changes": found.as_dict(), "confirm": confirm}

    async def keep(self) -> dict[str, Any]:
        """The configuration on trial stays. Raises LookupError if there is none."""
        async with self._one:
            if self._going_back is None:
                raise LookupError("no configuration is on trial")
            await self._keep()
        log.info("config: kept")
        return {"ok": True}

    async def _keep(self) -> None:
        if self._going_back is not None:
            self._going_back.cancel()
        self._going_back = self._before = None
        await asyncio.to_thread(self._trial.keep, self._file)

    async def _go_back(self, after: float) -> None:
        await asyncio.sleep(after)
        async with self._one:
            before, self._before, self._going_back = self._before, None, None
            assert before is not None, "a trial without anything before it"
            log.error("config: not kept within %g s: the one before it is in use again", after)
            self._last = {"time": time.time_ns() // 1_000_000, "ok": False}
            try:
                await self._wiring.apply(before)
            except BerrygateError as error:
                self._last["error"] = f"not kept in time, and cannot go back: {error}"
                log.error("config: %s", self._last["error"])
            else:
                self._last["error"] = "not kept in time"

    def status(self) -> dict[str, Any]:
        """file, when it was loaded, how the last reload went, and how long a trial still lasts
        (s)."""
        left = max(self._until - time.monotonic(), 0.0) if self._going_back else None
        return {
            "file": str(self._file) if self._file else None,
            "loaded": self._loaded // 1_000_000,
            "trial": None if left is None else round(left, 1),
            "last_reload": self._last,
        }
