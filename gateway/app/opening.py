"""Everything that keeps data, opened and recovered, and the bus over it."""

import asyncio
import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from gateway.bus.bus import Bus
from gateway.bus.journal import Journal
from gateway.bus.kept import JournalOptions
from gateway.bus.segment import SEGMENT_SIZE
from gateway.config import Config
from gateway.config.models import HistorySettings, JournalSettings
from gateway.core.errors import ConfigError
from gateway.core.topics import Topics
from gateway.io.sqlite.database import Database
from gateway.runtime.clock import Clock
from gateway.runtime.house import House
from gateway.runtime.notify import getting_on
from gateway.stages.health import Health
from gateway.stages.profiling import Profiler
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import RESCUE as devices_rescue
from gateway.store.devices import SAVE_EVERY, Devices
from gateway.store.health import HealthHistory
from gateway.store.history import AGE, History

_BALLAST = 8_000_000  # what SQLite needs to delete and to check point on a full disk


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Two gateways on one directory would write each other's journal to pieces."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "lock"
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            path.rename(directory / f"lock.damaged-{time.time_ns()}")
        lock = path.open("a")
    except OSError as error:
        raise ConfigError(
            f"cannot use {directory}: {error.strerror}", fix="set gateway.data_dir"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another gateway already uses {directory}",
                fix="stop it, or set another gateway.data_dir",
            ) from error
        yield


async def opened(config: Config, directory: Path, stack: AsyncExitStack) -> House:
    """The house with its stores and its bus; closed in reverse."""
    topics = Topics(config.gateway.root, config.gateway.id)
    migrations = files("gateway.store") / "migrations" / "state"
    state = Database(directory / "state.db", migrations, devices_rescue)
    stack.push_async_callback(asyncio.to_thread, state.close)
    limits = config.limits
    devices = Devices(state, limits.devices, limits.series, limits.total_series)
    devices.every = counts_every(config.journal)
    stack.push_async_callback(devices.close)
    history = History(directory, config.history.retention)
    history.keep(*kept(config.history))
    history.age = open_for(config.journal)
    stack.push_async_callback(history.close)
    bus, clock = _bus(config, directory, history, stack)
    bus.retiring.append(history.secure)
    health_log = HealthHistory(state, clock.at)
    health_log.keep(*health_kept(config))
    stack.push_async_callback(health_log.saved)
    registry = CollectorRegistry()
    profiler = Profiler(registry, config.profiling)
    bus.commit_observers.append(profiler.committed)
    return House(
        topics=topics,
        clock=clock,
        bus=bus,
        devices_=devices,
        history=history,
        dead_letters=DeadLetters(state),
        health_=Health(config.health.rules()),
        health_log=health_log,
        profiler=profiler,
        registry=registry,
        broker=dict,
        limits_=limits.model_dump(),
        starting={"history"},
        stores=(state, history.database),
    )


def _bus(
    config: Config, directory: Path, history: History, stack: AsyncExitStack
) -> tuple[Bus, Clock]:
    clocks: list[Clock] = []
    options = journal_options(config.journal)
    journal = Journal(directory / "journal", options, lambda: clocks[0].stamp())
    recovered = journal.open(at_least=history.reached, progress=getting_on())
    clocks.append(Clock(config.clock, journal.times, recovered.stamp, directory))
    history.times, history.now = journal.times, clocks[0].at_least
    stack.push_async_callback(asyncio.to_thread, journal.stop)
    return Bus(journal, recovered), clocks[0]


def adjust(config: Config, house: House) -> None:
    """What takes other settings without being opened again."""
    house.bus.journal.adjust(journal_options(config.journal))
    house.history.keep(*kept(config.history))
    house.history.age = open_for(config.journal)
    limits = config.limits
    house.devices_.adjust(limits.devices, limits.series, limits.total_series)
    house.devices_.every = counts_every(config.journal)
    house.limits_ = limits.model_dump()
    house.profiler.adjust(config.profiling)
    house.health_.rules.adopt(config.health.rules())
    house.health_log.keep(*health_kept(config))


def counts_every(settings: JournalSettings) -> float:
    """How often what is counted of devices is saved (s): less often where commits spare the card
    as well, and with what there is of health then."""
    return max(SAVE_EVERY, 60 * settings.gather)


def open_for(settings: JournalSettings) -> float:
    """How long history waits for what makes a chunk full (s); likewise."""
    return max(AGE, 480 * settings.gather)


def health_kept(config: Config) -> tuple[float, int, float]:
    """How long health history keeps what (s), how many rows of it, and how often it is written (s);
    likewise."""
    keep = config.health.history
    return keep.retention, keep.rows, max(keep.every, counts_every(config.journal))


def broker_saves_every(settings: JournalSettings) -> int:
    """How often the embedded broker writes down what it holds (s); likewise."""
    return max(60, round(10 * settings.gather))


def kept(settings: HistorySettings) -> tuple[float, dict[int, float], float]:
    """How long history keeps samples and, by level, rollups (s), and how many bytes at most."""
    rollups = settings.rollups
    levels = {1: rollups.minute, 2: rollups.hour, 3: rollups.day}
    seconds = {n: math.inf if own == "forever" else own for n, own in levels.items()}
    return settings.retention, seconds, settings.max_size or math.inf


def journal_options(settings: JournalSettings) -> JournalOptions:
    """The journal's part of the configuration in its own terms."""
    return JournalOptions(
        gather=settings.gather,
        frames=settings.batch,
        max_size=settings.max_size,
        max_age=settings.max_age,
        ballast=_BALLAST,
        segment=min(SEGMENT_SIZE, max(settings.max_size // 8, 1_000_000)),
    )


def certificates_of(config: Config) -> dict[str, list[Path]]:
    """Files with certificates that are in use, by the part that uses them."""
    made = config.gateway.data_dir / "broker" / "server.crt"
    found = {"stage/broker": [*_files(config.broker), *([made] if made.is_file() else [])]}
    for name, bridge in config.named_bridges.items():
        found[f"bridge/{name}"] = _files(bridge)
    return found


def _files(settings: BaseModel) -> list[Path]:
    named = (getattr(settings, key, None) for key in ("cert_file", "ca_file"))
    return [Path(name) for name in named if name]
