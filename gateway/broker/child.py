"""The embedded broker: a mosquitto child that lives and dies with us."""

import asyncio
import ctypes
import logging
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from gateway.broker.configuration import BrokerOptions, mosquitto_conf
from gateway.broker.files import set_aside, write
from gateway.broker.lan import Lan
from gateway.broker.orphans import Orphans
from gateway.broker.probing import accepts, answers, owner
from gateway.core.contracts import Endpoint
from gateway.core.errors import ConfigError
from gateway.core.events import Connected, Disconnected, Event, Failed

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_START = 10.0
_STOP = 3.0
_SAVE = 60.0  # writing down 256 MB of queues on a card, where nobody waits for us to end (s)
_LOOK = 0.01
_FILES = 65_536  # that it may have open, as systemd's unit says too
_DATABASE = "mosquitto.db"
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)
_CRASH_LOOP = 3  # crashes soon after the start, from which on its database is blamed
_GIVEN_UP = "sessions, retained messages and what was queued; devices connect and send again"


class _DatabaseRefused(ConfigError):
    """mosquitto ended over its database."""


class EmbeddedBroker:
    """See the module. trouble: why it does not run at the moment, or "". foreign: a broker that
    is not our child has the port and takes us, so it is used instead. set_aside: damaged files of
    the broker that we went on without, since we started."""

    def __init__(
        self,
        directory: Path,
        options: BrokerOptions,
        emit: Callable[[Event], None],
        lan: Lan | None = None,
    ) -> None:
        self.endpoint = Endpoint(host=options.host, port=options.port)
        self.trouble = ""
        self.foreign = False
        self.restarts = 0
        self.set_aside: list[str] = []
        self._directory = directory
        self._options = options
        self._emit = emit
        self._lan = lan
        self._orphans = Orphans(directory)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def listeners(self) -> list[dict[str, Any]]:
        """Where it listens for the network, for people."""
        return self._lan.current if self._lan else []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EmbeddedBroker"]:
        """The broker, answering on its port. Raises ConfigError if it cannot be."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            await self._orphans.reclaim(self.endpoint)
            if await answers(self.endpoint):
                await self._use_foreign()
                yield self
                return
            await self._start()
        except OSError as error:
            raise ConfigError(
                f"cannot start mosquitto in {self._directory}: {error.strerror or error}",
                fix="see that the disk has room and that the directory is ours",
            ) from error
        supervisor = asyncio.create_task(self._supervise())
        try:
            yield self
        finally:
            supervisor.cancel()
            await asyncio.wait([supervisor])
            await self._stop(_STOP)

    async def restart(self) -> None:
        """End it in good order and start it with the listeners there are now. It writes down what
        it holds before; its clients come back. Raises ConfigError, OSError."""
        async with self._changing:
            await self._stop(_SAVE)
            await self._start()

    def reload(self) -> None:
        """Have it read passwords, rules and certificates again; connections stay."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    def emit(self, event: Event) -> None:
        """Pass on what a source tells. A session that is new is saved at once: killed before that,
        mosquitto would come back without it, and throw away what devices send until we subscribe
        again, acknowledged."""
        self._emit(event)
        if isinstance(event, Connected) and event.forgotten:
            self.save()

    def save(self) -> None:
        """Have the child write its sessions and queues down now (mosquitto(8), SIGUSR1)."""
        if self.pid is not None and self._process is not None:
            self._process.send_signal(signal.SIGUSR1)

    async def _use_foreign(self) -> None:
        where = f"{self.endpoint.host}:{self.endpoint.port}"
        if not await accepts(self.endpoint):
            raise ConfigError(
                f"{owner(self.endpoint.port)} has {where} and does not let us in",
                fix=f"stop it, or set broker.port, or broker.url to mqtt://{where} with a username",
            )
        log.warning(
            "broker: %s has %s already; using it. Its queue limits are its own",
            owner(self.endpoint.port), where,
        )  # fmt: skip
        self.foreign = True

    async def _start(self) -> None:
        """Raises ConfigError, OSError."""
        self._clear_the_way()
        lan = await asyncio.to_thread(self._lan.prepare) if self._lan else ""
        try:
            await self._launch(lan)
        except _DatabaseRefused as error:
            self._without_database(f"keeps mosquitto from starting ({error})")
            await self._launch(lan)
        self.trouble = ""
        where = f"{self.endpoint.host}:{self.endpoint.port}"
        log.info("broker: mosquitto listens on %s", where)
        self._emit(Connected(kind="broker", name="broker", detail=where))

    def _clear_the_way(self) -> None:
        """mosquitto crashes over a directory in the place of a file of its."""
        for name in (_DATABASE, f"{_DATABASE}.new", "mosquitto.conf", "mosquitto.pid"):
            if (self._directory / name).is_dir():
                given_up = _GIVEN_UP if name == _DATABASE else "nothing; it is made again"
                self._put_aside(name, "is a directory", given_up)

    def _without_database(self, why: str) -> None:
        there = self._put_aside(_DATABASE, why, _GIVEN_UP)
        reason = f"its database was damaged and is set aside as {there.name}"
        self._emit(Failed(kind="broker", name="broker", error="damaged", reason=reason))

    def _put_aside(self, name: str, why: str, given_up: str) -> Path:
        there = set_aside(self._directory / name, why, given_up)
        self.set_aside.append(there.name)
        return there

    async def _launch(self, lan: str) -> None:
        binary = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if binary is None:
            raise ConfigError(
                "the embedded broker needs mosquitto, which is not installed",
                fix="sudo apt install mosquitto, or set broker.url to a broker you have",
            )
        config = self._directory / "mosquitto.conf"
        write(config, mosquitto_conf(self._options, self._directory, lan))
        self._process = await asyncio.create_subprocess_exec(
            binary, "-c", str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=_arrange(os.getpid()),
            env=_without_service_manager(),
        )  # fmt: skip
        try:
            await self._answering(self._process, config)
            self._orphans.remember(self._process.pid)
        except BaseException:
            await self._stop(_STOP)  # nobody else knows of it: it would keep the port
            raise

    async def _answering(self, process: asyncio.subprocess.Process, config: Path) -> None:
        """Wait until a child that was just started takes connections. Raises ConfigError."""
        lines: list[str] = []
        self._reading = asyncio.create_task(self._log(process, lines))
        deadline = time.monotonic() + _START
        while not await answers(self.endpoint):
            if process.returncode is not None or time.monotonic() > deadline:
                await asyncio.wait([self._reading], timeout=1)
                raise self._no_start(process.returncode, lines, config)
            await asyncio.sleep(_LOOK)

    def _no_start(self, code: int | None, lines: list[str], config: Path) -> ConfigError:
        said = [line for line in lines if not line.startswith("Warning")]
        database = any("open database" in line for line in said) or code in _CRASHES
        if database and (self._directory / _DATABASE).exists():
            return _DatabaseRefused(said[0] if said else f"it ended with {code}")
        reason = said[-1] if said else "no reason given"
        return ConfigError(f"mosquitto does not start: {reason}", fix=f"mosquitto -v -c {config}")

    async def _supervise(self) -> None:
        """Start it again when it dies, with growing pauses."""
        pause, crashes = 0.1, 0
        while True:
            process = self._process
            assert process is not None
            started = time.monotonic()
            code = await process.wait()
            async with self._changing:
                if self._process is not process and self.pid is not None:
                    continue  # it was restarted on request
                lived = time.monotonic() - started
                pause = 0.1 if lived > 60 else min(pause * 2, 10.0)
                crashes = crashes + 1 if code in _CRASHES and lived < _START else 0
                self.trouble = f"mosquitto ended with {code}"
                self.restarts += 1
                log.error("broker: %s; starting it again", self.trouble)
                self._emit(Disconnected(kind="broker", name="broker", reason=self.trouble))
            if crashes >= _CRASH_LOOP:
                crashes = 0
                with suppress(OSError):
                    self._without_database("makes mosquitto crash again and again")
            while self.trouble:
                await asyncio.sleep(random.uniform(pause / 2, pause))
                async with self._changing:
                    await self._try_again()
                pause = min(pause * 2, 10.0)

    async def _try_again(self) -> None:
        if self.pid is not None:
            self.trouble = ""  # a request has started it in the meantime
            return
        try:
            await self._start()
        except (ConfigError, OSError, psutil.Error) as error:
            if self.trouble != str(error):
                log.error("broker: %s; trying again", error)
            self.trouble = str(error)

    async def _stop(self, patience: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()  # it writes its sessions and queues down
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._orphans.forget()

    async def _log(self, process: asyncio.subprocess.Process, lines: list[str]) -> None:
        """What mosquitto says goes to our log: warnings as they are, the rest for debugging."""
        assert process.stderr is not None
        while raw := await process.stderr.readline():
            line = raw.decode(errors="replace").strip()
            lines[:] = [*lines[-19:], line]
            loud = line.startswith(("Error", "Warning"))
            log.log(logging.WARNING if loud else logging.DEBUG, "mosquitto: %s", line)


def _arrange(parent: int) -> Callable[[], None]:
    """Run in the child before exec: SIGTERM when the thread that forked it ends, which must
    therefore be the main thread; and as many files as it may have."""
    prctl = ctypes.CDLL(None).prctl
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)  # the parent died before this was arranged
        if files != resource.RLIM_INFINITY and files < wanted:
            # Each client is one. A shell gives 1,024, and the one after that is cut off without a
            # word. Where a service manager forbids it, what it gave is what was meant.
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        os.setpgid(0, 0)  # Ctrl-C on the terminal is for us; we stop the broker in our own time

    return arrange


def _without_service_manager() -> dict[str, str]:
    """mosquitto would tell the service manager that it is ready, in our place."""
    return {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
