"""The embedded broker: a mosquitto child that lives and dies with us.

Its settings follow what was measured of mosquitto 2.0: the defaults drop silently and cap an
acknowledge-after-commit client at 20 messages in flight.
"""

import asyncio
import ctypes
import logging
import os
import pwd
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from gateway.core.contracts import Endpoint
from gateway.core.errors import ConfigError
from gateway.core.events import Connected, Disconnected, Event

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_START = 10.0
_STOP = 3.0
_LOOK = 0.01


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """host, port: where it listens, loopback only. queue: most messages, and queue_bytes most
    bytes, kept for one client that is away. window: most messages in flight to one client."""

    host: str = "127.0.0.1"
    port: int = 1883
    queue: int = 1_000_000
    queue_bytes: int = 256_000_000
    window: int = 5_000


class EmbeddedBroker:
    """See the module. trouble: why it does not run at the moment, or "". foreign: a broker that
    is not our child has the port and takes us, so it is used instead."""

    def __init__(
        self, directory: Path, options: BrokerOptions, emit: Callable[[Event], None]
    ) -> None:
        self.endpoint = Endpoint(host=options.host, port=options.port)
        self.trouble = ""
        self.foreign = False
        self.restarts = 0
        self._directory = directory
        self._options = options
        self._emit = emit
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EmbeddedBroker"]:
        """The broker, answering on its port. Raises ConfigError if it cannot be."""
        self._directory.mkdir(parents=True, exist_ok=True)
        await self._reclaim()
        if await answers(self.endpoint):
            await self._use_foreign()
            yield self
            return
        try:
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
            await self._stop()

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
        binary = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if binary is None:
            raise ConfigError(
                "the embedded broker needs mosquitto, which is not installed",
                fix="sudo apt install mosquitto, or set broker.url to a broker you have",
            )
        config = self._directory / "mosquitto.conf"
        if not config.exists() or config.read_text() != self._config():
            config.write_text(self._config())  # not every time: a full disk would empty the file
        self._process = await asyncio.create_subprocess_exec(
            binary, "-c", str(config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent(os.getpid()),
            env=_without_service_manager(),
        )  # fmt: skip
        try:
            await self._answering(self._process, config)
            self._remember(psutil.Process(self._process.pid))
        except BaseException:
            await self._stop()  # nobody else knows of it: it would keep the port
            raise
        self.trouble = ""
        where = f"{self.endpoint.host}:{self.endpoint.port}"
        log.info("broker: mosquitto listens on %s", where)
        self._emit(Connected(kind="broker", name="broker", detail=where))

    def _remember(self, process: psutil.Process) -> None:
        try:
            self._pid_file.write_text(f"{process.pid} {process.create_time()}")
        except OSError as error:  # a full disk is no reason to have no broker
            log.warning("broker: cannot note its process, %s: %s", self._pid_file, error.strerror)

    async def _answering(self, process: asyncio.subprocess.Process, config: Path) -> None:
        """Wait until a child that was just started takes connections. Raises ConfigError."""
        lines: list[str] = []
        self._reading = asyncio.create_task(self._log(process, lines))
        deadline = time.monotonic() + _START
        while not await answers(self.endpoint):
            if process.returncode is not None or time.monotonic() > deadline:
                await asyncio.wait([self._reading], timeout=1)
                raise ConfigError(
                    "mosquitto does not start: " + (lines[-1] if lines else "no reason given"),
                    fix=f"mosquitto -v -c {config}",
                )
            await asyncio.sleep(_LOOK)

    async def _supervise(self) -> None:
        """Start it again when it dies, with growing pauses."""
        pause = 0.1
        while True:
            process = self._process
            assert process is not None
            started = time.monotonic()
            code = await process.wait()
            pause = 0.1 if time.monotonic() - started > 60 else min(pause * 2, 10.0)
            self.trouble = f"mosquitto ended with {code}"
            self.restarts += 1
            log.error("broker: %s; starting it again", self.trouble)
            self._emit(Disconnected(kind="broker", name="broker", reason=self.trouble))
            while self.trouble:
                await asyncio.sleep(random.uniform(pause / 2, pause))
                try:
                    await self._start()
                except (ConfigError, OSError, psutil.Error) as error:
                    if self.trouble != str(error):
                        log.error("broker: %s; trying again", error)
                    self.trouble = str(error)
                    pause = min(pause * 2, 10.0)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()  # it writes its sessions and queues down
        try:
            async with asyncio.timeout(_STOP):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        with suppress(OSError):
            self._pid_file.unlink()

    async def _log(self, process: asyncio.subprocess.Process, lines: list[str]) -> None:
        """What mosquitto says goes to our log: warnings as they are, the rest for debugging."""
        assert process.stderr is not None
        while raw := await process.stderr.readline():
            line = raw.decode(errors="replace").strip()
            lines[:] = [*lines[-19:], line]
            loud = line.startswith(("Error", "Warning"))
            log.log(logging.WARNING if loud else logging.DEBUG, "mosquitto: %s", line)

    async def _reclaim(self) -> None:
        """End a child of an earlier life that was left behind on our port."""
        try:
            pid, created = self._pid_file.read_text().split()
            orphan = psutil.Process(int(pid))
            if abs(orphan.create_time() - float(created)) > 0.01 or orphan.name() != "mosquitto":
                return  # the number was given to another process since
            log.warning("broker: ending mosquitto %s, left behind by an earlier run", pid)
            orphan.send_signal(signal.SIGTERM)
            await asyncio.to_thread(orphan.wait, _STOP)
        except psutil.TimeoutExpired:
            orphan.kill()
            await asyncio.to_thread(orphan.wait, _STOP)
        except (OSError, ValueError, psutil.Error):
            return

    @property
    def _pid_file(self) -> Path:
        return self._directory / "mosquitto.pid"

    def _config(self) -> str:
        options = self._options
        return f"""\
# Written by berrygate at every start; changes are lost.
listener {options.port} {options.host}
allow_anonymous true
user {_user()}
persistence true
persistence_location {self._directory}/
autosave_interval 60
persistent_client_expiration 7d
max_inflight_messages {options.window}
max_queued_messages {options.queue}
max_queued_bytes {options.queue_bytes}
queue_qos0_messages true
set_tcp_nodelay true
sys_interval 10
log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
"""


def _die_with_parent(parent: int) -> Callable[[], None]:
    """Run in the child before exec: SIGTERM when the thread that forked it ends, which must
    therefore be the main thread."""
    prctl = ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)  # the parent died before this was arranged
        os.setpgid(0, 0)  # Ctrl-C on the terminal is for us; we stop the broker in our own time

    return arrange


def _user() -> str:
    """Who we are, by our process and not by $USER: started as root, mosquitto becomes whom its
    configuration names. Where a number has no name it is not root, and the name is not used."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _without_service_manager() -> dict[str, str]:
    """mosquitto would tell the service manager that it is ready, in our place."""
    return {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}


def owner(port: int) -> str:
    """Who listens on a port, for people."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return "another program"
    return "another program"


async def answers(endpoint: Endpoint) -> bool:
    """Whether anything listens there."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def accepts(endpoint: Endpoint) -> bool:
    """Whether an MQTT broker listens there that lets us in without a name (MQTT 3.1.1, 3.1)."""
    client_id = b"berrygate-probe"
    body = b"\x00\x04MQTT\x04\x02\x00\x05" + len(client_id).to_bytes(2, "big") + client_id
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            writer.write(bytes((0x10, len(body))) + body)
            answer = await reader.readexactly(4)
            writer.write(b"\xe0\x00")
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return answer[0] == 0x20 and answer[3] == 0
