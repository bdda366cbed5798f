"""Children of an earlier life: a gateway that was killed may leave its mosquitto on its port."""

import asyncio
import logging
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from gateway.broker.probing import answers
from gateway.core.contracts import Endpoint

log = logging.getLogger(__name__)

_PATIENCE = 3.0


class Orphans:
    """Notes our child, and finds it again. directory: the broker's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pid_file = directory / "mosquitto.pid"

    def remember(self, pid: int) -> None:
        """Note our child. Raises psutil.Error if it is gone."""
        try:
            self._pid_file.write_text(f"{pid} {psutil.Process(pid).create_time()}")
        except OSError as error:  # a full disk is no reason to have no broker
            log.warning("broker: cannot note its process, %s: %s", self._pid_file, error.strerror)

    def forget(self) -> None:
        """It ended with us."""
        with suppress(OSError):
            self._pid_file.unlink()

    async def reclaim(self, endpoint: Endpoint) -> None:
        """End a child that was left behind. endpoint: where it would listen."""
        orphan = self._by_pid_file()
        if orphan is None and await answers(endpoint):
            orphan = await asyncio.to_thread(self._by_command_line)
        if orphan is None:
            return
        log.warning("broker: ending mosquitto %s, left behind by an earlier run", orphan.pid)
        with suppress(psutil.Error):
            try:
                orphan.send_signal(signal.SIGTERM)
                await asyncio.to_thread(orphan.wait, _PATIENCE)
            except psutil.TimeoutExpired:
                orphan.kill()
                await asyncio.to_thread(orphan.wait, _PATIENCE)

    def _by_pid_file(self) -> psutil.Process | None:
        try:
            pid, created = self._pid_file.read_text().split()
            orphan = psutil.Process(int(pid))
            ours = abs(orphan.create_time() - float(created)) < 0.01
            return orphan if ours and orphan.name() == "mosquitto" else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _by_command_line(self) -> psutil.Process | None:
        """Where there is no pid file: the disk was full when it was to be written."""
        config = str(self._directory / "mosquitto.conf")
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "mosquitto" and config in (process.info["cmdline"] or ()):
                return process
        return None
