"""The only place that wires: config -> objects -> one task group, and back down in order."""

import asyncio
import fcntl
import logging
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.broker import BrokerOptions, EmbeddedBroker
from gateway.bus.bus import Bus
from gateway.bus.journal import Journal, JournalOptions
from gateway.bus.segment import SEGMENT_SIZE
from gateway.config import Config
from gateway.core.contracts import Context, Described, Device, Endpoint, TopicMapped
from gateway.core.errors import ConfigError
from gateway.core.events import Event
from gateway.core.topics import Topics
from gateway.io.sqlite import Database
from gateway.runtime import probes
from gateway.runtime.announce import Announcer, ReadingsAnnouncer
from gateway.runtime.clock import Clock
from gateway.runtime.decoding import Decoder, Limits
from gateway.runtime.delivery import Delivery
from gateway.runtime.house import House
from gateway.runtime.intake import Intake, Services
from gateway.runtime.notify import notify
from gateway.runtime.report import Report
from gateway.stages.health import Health
from gateway.stages.profiling import Profiler
from gateway.store.dead_letters import DeadLetters
from gateway.store.devices import Devices
from gateway.store.history import History
from gateway.web import control, server
from gateway.web.sockets import socket_paths

log = logging.getLogger(__name__)

_DRAIN = 1.0  # how long readings on their way may take to be committed when we stop (s)


def run(config: Config) -> int:
    """Run the gateway until it is told to stop; the exit code. Raises ConfigError."""
    return asyncio.run(_main(config))


async def _main(config: Config) -> int:
    directory = config.gateway.data_dir
    with _only_one(directory):
        work = _Work()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, work.stop.set)
        async with AsyncExitStack() as stack:
            house = await _open(config, directory, stack)
            async with _at_work(config, house, work, stack):
                await work.stop.wait()
                notify("STOPPING=1")
                log.info("stopping")
    if work.failure is not None:
        raise work.failure
    return 0


class _Work:
    """The tasks of a running gateway. stop: set when it is to end. failure: why, where one of its
    parts failed: a gateway without one of its parts is worse than one that is started again."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.failure: BaseException | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin a part that is to run until it is cancelled, or that may come to its end."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self.tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None or self.stop.is_set():
            return
        self.failure = task.exception()
        if not isinstance(self.failure, ConfigError):
            log.critical("%s failed", task.get_name(), exc_info=self.failure)
        self.stop.set()

    async def end(self, prefix: str = "") -> None:
        """Cancel the tasks whose names begin with `prefix` and wait for them."""
        chosen = [task for task in self.tasks if task.get_name().startswith(prefix)]
        for task in chosen:
            task.cancel()
        await asyncio.gather(*chosen, return_exceptions=True)


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Two gateways on one directory would write each other's journal to pieces."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a")
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


async def _open(config: Config, directory: Path, stack: AsyncExitStack) -> House:
    """Everything that keeps data, recovered, and the bus over it; closed in reverse."""
    topics = Topics(config.gateway.root, config.gateway.id)
    state = Database(directory / "state.db", files("gateway.store") / "migrations" / "state")
    stack.push_async_callback(asyncio.to_thread, state.close)
    devices = Devices(state, config.limits.devices, config.limits.series)
    stack.push_async_callback(devices.save)
    history = History(directory, config.history.retention)
    stack.push_async_callback(history.close)
    bus, clock = _bus(config, directory, history, stack)
    registry = CollectorRegistry()
    profiler = Profiler(registry)
    bus.commit_observers.append(profiler.committed)
    return House(
        topics=topics,
        clock=clock,
        bus=bus,
        devices_=devices,
        history=history,
        dead_letters=DeadLetters(state),
        health_=Health(),
        profiler=profiler,
        registry=registry,
        broker=dict,
        starting={"history"},
    )


def _bus(
    config: Config, directory: Path, history: History, stack: AsyncExitStack
) -> tuple[Bus, Clock]:
    journal_settings = config.journal
    options = JournalOptions(
        gather=journal_settings.gather,
        frames=journal_settings.batch,
        max_size=journal_settings.max_size,
        max_age=journal_settings.max_age,
        segment=min(SEGMENT_SIZE, max(journal_settings.max_size // 8, 1_000_000)),
    )
    clocks: list[Clock] = []
    journal = Journal(directory / "journal", options, lambda: clocks[0].stamp())
    recovered = journal.open(at_least=history.reached)
    clocks.append(Clock(config.clock, recovered.stamp.wall))
    stack.push_async_callback(asyncio.to_thread, journal.stop)
    return Bus(journal, recovered), clocks[0]


@asynccontextmanager
async def _at_work(
    config: Config, house: House, work: _Work, stack: AsyncExitStack
) -> AsyncIterator[None]:
    """Everything that moves. At the end: sources first, then what they had said is committed,
    then bridges, history and the faces."""
    endpoint, broker = await _broker(config, house, stack)
    context = Context(
        gateway=house.topics.gateway,
        root=house.topics.root,
        data_dir=config.gateway.data_dir,
        broker=endpoint,
        emit=house.bus.emit,
        payload=config.limits.payload,
        facts={"broker_pid": lambda: broker.pid if broker else None},
    )
    await _bridges(config, house, context)
    announcer = Announcer(endpoint, house.topics)
    await stack.enter_async_context(announcer.running())
    house.broker = partial(_broker_status, announcer, broker)
    start = work.start
    start("bus", house.bus.run())
    start("history", _remember(house))
    start("history upkeep", house.history.run())
    start("devices", house.devices_.run())
    start("clock", house.clock.run())
    for delivery in house.deliveries.values():
        start(f"bridge {delivery.name}", delivery.run())
    sources = _sources(config, house, context, work)
    readings = ReadingsAnnouncer(announcer, house.topics)
    start("announce", _announce(house, readings, sources))
    _watch(config, house, announcer, broker)
    start("report", Report(house, announcer, house.topics).run())
    start("control", control.serve(house, socket_paths(config.gateway.data_dir)))
    api = config.api
    if api.enabled:
        hosts = api.allowed_hosts
        start("http", server.serve(house, api.host, api.port, allowed_hosts=hosts))
    start("ready", _ready(house))
    try:
        yield
    finally:
        await work.end("device ")
        await _drain(house)
        await work.end()


async def _broker(
    config: Config, house: House, stack: AsyncExitStack
) -> tuple[Endpoint, EmbeddedBroker | None]:
    settings = config.broker
    if not settings.runs_embedded:
        return settings.endpoint, None
    options = BrokerOptions(settings.host, settings.port, settings.queue, settings.queue_size)
    directory = config.gateway.data_dir.absolute() / "broker"
    broker = EmbeddedBroker(directory, options, house.bus.emit)
    await stack.enter_async_context(broker.running())
    return settings.endpoint, broker


def _broker_status(announcer: Announcer, broker: EmbeddedBroker | None) -> dict[str, Any]:
    return {
        "connected": announcer.connected,
        "trouble": announcer.trouble or None,
        "embedded": broker is not None,
        "pid": broker.pid if broker else None,
        "restarts": broker.restarts if broker else 0,
        "announcements_dropped": announcer.dropped,
    }


async def _bridges(config: Config, house: House, context: Context) -> None:
    for name, settings in zip(config.bridge_names, config.bridges, strict=True):
        delivery = Delivery(
            settings.build(name, context),
            settings,
            house.bus,
            house.dead_letters,
            house.profiler,
            house.clock,
        )
        await delivery.subscribe()
        house.deliveries[name] = delivery


def _sources(config: Config, house: House, context: Context, work: _Work) -> dict[str, Device]:
    services = Services(house.bus, house.devices_, house.dead_letters, house.profiler)
    limits = Limits(config.limits.payload, config.limits.topic)
    sources: dict[str, Device] = {}
    for name, settings in zip(config.device_names, config.devices, strict=True):
        device = settings.build(name, context)
        codec = getattr(settings, "codec", None)
        decoder = Decoder(
            name,
            codec.build() if codec is not None else None,
            device.device_of if isinstance(device, TopicMapped) else str,
            house.devices_,
            limits,
            lambda: house.clock.synced,
        )
        intake = Intake(device, decoder, services, house.bus.recovered_keys(name))
        house.intakes[name] = intake
        sources[name] = device
        work.start(f"device {name}", intake.run())
    return sources


def _watch(
    config: Config, house: House, announcer: Announcer, broker: EmbeddedBroker | None
) -> None:
    """Register what health looks at."""
    health = house.health_
    for name, intake in house.intakes.items():
        health.register("stage", f"intake-{name}", probes.source(intake))
    for name, delivery in house.deliveries.items():
        health.register("bridge", name, probes.bridge(delivery))
    health.register("stage", "journal", probes.journal(house.bus.journal))
    health.register("stage", "history", probes.history(house.history))
    health.register("stage", "broker", probes.broker(lambda: announcer.connected))
    directory = str(config.gateway.data_dir)
    health.register("stage", "machine", probes.machine(house.clock, directory))


async def _remember(house: House) -> None:
    """The pump from the journal into history; first what a crash took from its buffers."""
    history, bus = house.history, house.bus
    until = bus.head
    begin = history.position or bus.journal.start
    if begin >= until:
        house.starting.discard("history")
    async for block in bus.blocks(begin):
        history.add(block.first, block.readings)
        if block.end >= until:
            house.starting.discard("history")


async def _announce(house: House, readings: ReadingsAnnouncer, sources: dict[str, Device]) -> None:
    """Readings of devices that do not speak MQTT go out on MQTT."""
    own = set()
    for name, device in sources.items():
        if isinstance(device, TopicMapped):
            continue
        own.add(house.devices_.id_of(name, name))
        if isinstance(device, Described):
            readings.describe(name, await asyncio.to_thread(device.info))
    with house.bus.live() as live:
        async with aclosing(live.items()) as items:  # type: ignore[type-var]
            async for item in items:
                if not isinstance(item, Event):
                    readings.take(reading for reading in item if reading.device in own)


async def _ready(house: House) -> None:
    """Tell the service manager once data is accepted."""
    while not house.ready()[0]:  # noqa: ASYNC110 - several parts decide
        await asyncio.sleep(0.02)
    notify("READY=1")
    log.info("ready: gateway %s", house.topics.gateway)


async def _drain(house: House) -> None:
    """Let what sources had said be committed, so that it is not sent again."""
    try:
        async with asyncio.timeout(_DRAIN):
            house.bus.journal.hurry()
            await house.bus.room(1)
    except TimeoutError:
        log.info("some readings were not committed; their sources send them again")
