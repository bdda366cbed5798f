"""Config -> objects -> running parts; and from one configuration to another, part by part."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from gateway import registry
from gateway.alerts.alerts import Alerts
from gateway.app import pumps
from gateway.app.making import broker_status, embedded_broker, intake_of
from gateway.app.opening import adjust, certificates_of
from gateway.app.parts import Parts, until
from gateway.app.telling import Telling
from gateway.broker import EmbeddedBroker
from gateway.config import Config
from gateway.config.changes import Changes, changes
from gateway.core.contracts import Context, Device, Endpoint
from gateway.core.settings import BridgeSettings, DeviceSettings
from gateway.runtime import bottlenecks, broker_drops, probes
from gateway.runtime.announce import Announcer, ReadingsAnnouncer
from gateway.runtime.broker_drops import BrokerDrops
from gateway.runtime.delivery import Delivery
from gateway.runtime.figures import HouseFigures
from gateway.runtime.house import House
from gateway.runtime.limiting import Limiting
from gateway.runtime.machine import Machine, machine
from gateway.runtime.managing import Managing
from gateway.runtime.moving import status_line, watch_pipeline
from gateway.runtime.report import Report
from gateway.runtime.watchdog import Watchdog
from gateway.stages.backoff import Places
from gateway.web import control, server
from gateway.web.sockets import socket_paths

_FINISH = 1.0  # how long a write on its way may take when its bridge ends (s)
_FACES = ("report", "announce", "home assistant", "commands", "announcer")


class Wiring:
    """See the module. config: the one that is in use."""

    def __init__(self, config: Config, house: House, parts: Parts) -> None:
        self.config = config
        self._house = house
        self._parts = parts
        self._sources: dict[str, Device] = {}
        self._own = pumps.Own(house.devices_, {})
        self._readings: ReadingsAnnouncer
        self._broker: EmbeddedBroker | None = None
        self._announcer: Announcer
        self._telling: Telling
        self._places = Places()

    async def start(self) -> None:
        """Begin everything: where readings go first, where they come from last. Raises ConfigError
        where something cannot be had."""
        house, parts, config = self._house, self._parts, self.config
        watch = partial(bottlenecks.watch, house)
        rules, commits = house.health_.rules, probes.Commits()
        house.bus.commit_observers.append(commits.took)
        watch("stage", "journal", probes.journal(house.bus.journal, rules, commits))
        watch("stage", "history", probes.history(house.history))
        watch("stage", "state", probes.state(house.devices_, house.dead_letters))
        watch("stage", bottlenecks.DECODE, lambda: ())
        this = Machine(config.gateway.data_dir, partial(_growing, house))
        watch("stage", "machine", machine(this, house.clock, house.health_))
        parts.start("machine", this.run())
        parts.start("health history", house.health_log.run())
        await self._start_broker(config)
        context = self._context(config)
        for name, bridge in config.named_bridges.items():
            await self._subscribe(name, bridge, context)
        await self._start_announcer(config)
        parts.start("bus", house.bus.run())
        parts.start("history", pumps.remember(house))
        parts.start("history upkeep", house.history.run())
        parts.start("devices", house.devices_.run())
        parts.start("profiling", Limiting(house).run())
        house.clock.tell(house.history.settle)
        parts.start("clock", house.clock.run())
        for name in house.deliveries:
            self._start_bridge(name)
        for name, device in config.named_devices.items():
            self._start_source(name, device, context, config)
        self._start_alerts(config)
        self._telling = Telling(house, parts, lambda: self._announcer)
        await self._telling.start(config.broker.endpoint)
        house.managing = Managing(house, lambda: self._announcer, self._left)
        self._start_faces()
        parts.start("control", control.serve(house, socket_paths(config.gateway.data_dir)))
        await self._start_api(config)
        watchdog = Watchdog()
        watch_pipeline(watchdog, house, lambda: self._announcer)
        parts.start("watchdog", watchdog.run(partial(status_line, house)))
        parts.start("ready", pumps.ready(house))

    async def stop(self) -> None:
        """End everything: sources first, then what they had said is committed, then the rest."""
        await self._parts.end(*self._parts.names("device "))
        await pumps.drain(self._house)
        await self._end_bridges(list(self._house.deliveries))
        await self._parts.end_all()

    async def apply(self, config: Config) -> Changes:
        """Go over to another configuration; what did not change is not touched.

        Raises ConfigError where something of it cannot be had; the old one is in use again then.
        """
        found = changes(self.config, config)
        if not found:
            return found
        old = self.config
        context = self._context(config)
        # Drivers are built here first: what cannot be built must not cost what runs.
        for name in found.devices.come:
            config.named_devices[name].build(name, context)
        for name in found.bridges.come:
            config.named_bridges[name].build(name, context)
        try:
            await self._change(found, config)
        except Exception:
            await self._back(changes(config, old), old)
            raise
        return found

    async def _back(self, found: Changes, config: Config) -> None:
        try:
            await self._change(found, config)
        except Exception as error:
            # Half of one and half of another: started again, it is one of them.
            self._parts.fail("configuration", error)
            raise

    async def _change(self, found: Changes, config: Config) -> None:
        house, parts, sections = self._house, self._parts, found.sections
        self.config = config
        await parts.end(*(f"device {name}" for name in found.devices.gone))
        await self._end_bridges(found.bridges.gone)
        for name in found.bridges.removed:
            house.profiler.forget(f"deliver:{name}")
            if house.deliveries.pop(name, None) is not None:
                house.bus.unsubscribe(name)
            self._forget("bridge", name)
        for name in found.devices.removed:
            house.intakes.pop(name, None)
            self._sources.pop(name, None)
            self._forget("stage", f"intake-{name}")
        adjust(config, house)
        if "broker" in sections:
            await parts.end(*_FACES, "broker upkeep", "broker")
            await self._start_broker(config)
            await self._start_announcer(config)
            await self._telling.hear(config.broker.endpoint)
        context = self._context(config)
        for name in found.bridges.come:
            await self._subscribe(name, config.named_bridges[name], context)
            self._start_bridge(name)
        for name in found.devices.come:
            self._start_source(name, config.named_devices[name], context, config)
        faces = {"broker", "home_assistant"} & sections
        if faces or found.devices.gone or found.devices.come:
            await parts.end("report", "announce", "home assistant")
            self._start_faces()
        if "alerts" in sections:
            await parts.end("alerts", "figures")
            self._start_alerts(config)
        if "api" in sections or ("http" not in parts and config.api.enabled):
            await parts.end("http watch", "http")
            await self._start_api(config)

    # -- the broker, and what speaks for the gateway there -----------------------------------

    async def _start_broker(self, config: Config) -> None:
        self._broker = self._house.lan = None
        if not config.broker.runs_embedded:
            return
        broker, lan = embedded_broker(config, self._house)
        self._broker = await self._parts.enter("broker", broker.running())
        self._house.lan = lan
        self._parts.start("broker upkeep", lan.upkeep())

    async def _start_announcer(self, config: Config) -> None:
        broker, drops = self._broker, None
        hear: dict[str, Callable[[bytes], None]] = {}
        if broker is not None:
            drops = BrokerDrops(self._house.bus.emit, known=not broker.foreign)
            hear = {broker_drops.TOPIC: drops.heard}
        announcer = Announcer(config.broker.endpoint, self._house.topics, hear)
        self._announcer = await self._parts.enter("announcer", announcer.running())
        status = self._house.broker = partial(broker_status, announcer, broker, drops)
        probe = probes.broker(lambda: announcer.connected, self._house.health_.rules, status)
        self._house.health_.register("stage", "broker", probe)

    def _start_faces(self) -> None:
        house, topics = self._house, self._house.topics
        readings = self._readings = ReadingsAnnouncer(self._announcer, topics)
        own = pumps.Own(house.devices_, self._speechless())
        for gone in self._own.devices() - own.devices():
            readings.forget(gone)
        self._own = own
        self._parts.start("announce", pumps.announce(house, readings, own))
        self._start_home_assistant(own)
        self._parts.start("report", Report(house, self._announcer, topics).run())

    def _start_home_assistant(self, own: pumps.Own) -> None:
        file = self.config.gateway.data_dir / "home-assistant.json"
        wanted = self.config.home_assistant
        if wanted or file.exists():  # what was said is to be taken back
            from gateway.runtime.home_assistant import HomeAssistant  # most never need it

            telling = HomeAssistant(self._house, self._announcer, own, file, wanted)
            self._parts.start("home assistant", telling.run())

    def _left(self, device: str) -> None:
        """A device is no more, or what comes of another is its own now: whether we speak for it is
        looked up again."""
        before = self._own.pop(device, False)
        self._own.told.discard(device)
        if before and not self._own[device]:
            self._readings.forget(device)

    def _speechless(self) -> dict[str, Device]:
        """The sources whose devices do not speak MQTT."""
        broker, named = self.config.broker.endpoint, self.config.named_devices
        return {
            name: device
            for name, device in self._sources.items()
            if name not in named or named[name].listens(broker) is None
        }

    def _start_alerts(self, config: Config) -> None:
        house = self._house
        house.alerting = None
        if not config.alerts.enabled:
            self._forget("stage", "alerts")
            return
        figures = HouseFigures(house, config.gateway.data_dir, lambda: certificates_of(self.config))
        alerts = house.alerting = Alerts(
            config.alerts,
            house.topics,
            house.devices_.database,
            house.devices_,
            house.health_,
            figures,
            lambda: self._announcer,
        )
        house.health_.register("stage", "alerts", probes.alerts(alerts))
        self._parts.start("figures", figures.run())
        self._parts.start("alerts", alerts.run(house.bus))

    def _context(self, config: Config) -> Context:
        house = self._house
        endpoint: Endpoint = config.broker.endpoint
        return Context(
            gateway=house.topics.gateway,
            root=house.topics.root,
            data_dir=config.gateway.data_dir,
            broker=endpoint,
            emit=self._broker.emit if self._broker else house.bus.emit,
            payload=config.limits.payload,
            gather=lambda: house.bus.journal.options.gather,
            facts={
                "broker_pid": lambda: self._broker.pid if self._broker else None,
                "health": house.health_.summary,
                "broker_connected": lambda: self._announcer.connected,
            },
            codec=registry.codec,
        )

    # -- bridges and sources ----------------------------------------------------------------

    async def _subscribe(self, name: str, settings: BridgeSettings, context: Context) -> None:
        house = self._house
        delivery = Delivery(
            settings.build(name, context),
            settings,
            house.bus,
            house.dead_letters,
            house.profiler,
            house.clock,
            self._places.of(settings),
            house.deliveries.get,
        )
        await delivery.subscribe()
        house.deliveries[name] = delivery
        bottlenecks.watch(house, "bridge", name, probes.bridge(delivery, house.health_.rules))

    async def _end_bridges(self, names: Sequence[str]) -> None:
        there = [self._house.deliveries[name] for name in names if f"bridge {name}" in self._parts]
        await asyncio.gather(*(delivery.finish(_FINISH) for delivery in there))
        await self._parts.end(*(f"bridge {name}" for name in names))

    def _start_bridge(self, name: str) -> None:
        self._parts.start(f"bridge {name}", self._house.deliveries[name].run())

    def _start_source(
        self, name: str, settings: DeviceSettings, context: Context, config: Config
    ) -> None:
        house = self._house
        device = settings.build(name, context)
        intake = intake_of(name, settings, device, config, house)
        if (before := house.intakes.get(name)) is not None:
            intake.succeed(before)
        house.intakes[name] = intake
        self._sources[name] = device
        probe = probes.source(intake, house.health_.rules)
        house.health_.register("stage", f"intake-{name}", probe)
        self._parts.start(f"device {name}", intake.run())

    # -- faces ------------------------------------------------------------------------------

    async def _start_api(self, config: Config) -> None:
        api = config.api
        if api.enabled:
            serving = server.serving(
                self._house, api.host, api.port, allowed_hosts=api.allowed_hosts
            )
            _, task = await self._parts.enter("http", serving)
            self._parts.start("http watch", until(task))

    def _forget(self, kind: str, name: str) -> None:
        """A part is no more: nothing retained may say that it is."""
        self._house.health_.forget(kind, name)
        self._house.health_log.end(f"{kind}/{name}")
        self._announcer.clear(self._house.topics("health", kind, name))


def _growing(house: House) -> int:
    """Bytes that the journal will still take."""
    journal = house.bus.journal
    return max(journal.options.max_size - sum(map(journal.size_of, list(journal.segments))), 0)
