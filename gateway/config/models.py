"""The whole configuration. Each model is schema, documentation and validation at once."""

import hashlib
import os
import re
import socket
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from gateway.config.alerting import AlertsSettings
from gateway.config.health import HealthSettings
from gateway.core.contracts import Endpoint
from gateway.core.ids import slug
from gateway.core.mqtt_url import parse_url
from gateway.core.profiling_settings import ProfilingSettings
from gateway.core.settings import (
    BridgeSettings,
    BrokerAddress,
    DeviceSettings,
    Duration,
    Id,
    Secret,
    Settings,
    Size,
    wrong,
)

Port = Annotated[int, Field(ge=1, le=65_535)]
_MACHINE_ID = Path("/etc/machine-id")
_MACHINE_ID_TEXT = re.compile(r"[0-9a-f]{32}")
_SERVICE_DATA = Path("/var/lib/berrygate")


def default_id() -> str:
    """The host's name and four digits that tell it from clones of its card.

    The digits are a keyed hash: machine-id(5) asks not to show the id itself.
    """
    name = slug(socket.gethostname().split(".")[0]) or "gateway"
    try:
        machine = _MACHINE_ID.read_text().strip()
    except OSError:
        return name
    if not _MACHINE_ID_TEXT.fullmatch(machine):  # "uninitialized" until the first boot is over
        return name
    digest = hashlib.sha256(f"berrygate {machine}".encode()).hexdigest()
    return f"{name[:59]}-{digest[:4]}"


def default_data_dir() -> Path:
    """$STATE_DIRECTORY, else $XDG_STATE_HOME/berrygate, else ~/.local/state/berrygate."""
    if state := os.environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(state)
    if home := os.environ.get("XDG_STATE_HOME", ""):
        return Path(home) / "berrygate"
    try:
        return Path.home() / ".local/state/berrygate"
    except RuntimeError:  # a user without a home, as in a container
        return _SERVICE_DATA


class GatewaySettings(Settings):
    """Who this gateway is and where it keeps its data."""

    id: Id = Field(default_factory=default_id)
    """The gateway's id, in its topics. Defaults to the host name and four digits of the machine."""
    root: Annotated[str, Field(pattern=r"^[^+#/\s$][^+#/\s]*$")] = "berrygate"
    """First level of the gateway's own topics."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Where data lies. Defaults to $STATE_DIRECTORY, $XDG_STATE_HOME/berrygate or
    ~/.local/state/berrygate."""

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError("nobody knows this home directory; write it out") from error


class ListenerSettings(Settings):
    """A listener of the embedded broker for the network. Who comes in needs a user name and a
    password, and may use topics of its own only."""

    host: str = "0.0.0.0"
    """Address to listen on; 0.0.0.0 is every IPv4 address of this machine, :: every IPv6 one."""
    port: Port = 8883
    """Port to listen on."""
    tls: bool = True
    """Encrypted, with a certificate that is made and renewed by the gateway."""
    users: dict[Id, Secret] = Field(default_factory=dict)
    """Passwords by user name, besides the users of `berrygate broker users`."""


class BrokerSettings(BrokerAddress):
    """The MQTT broker: a mosquitto of our own, or any other by its URL."""

    embedded: bool = True
    """Run a mosquitto of our own. False, or a `url`, uses another broker."""
    host: str = "127.0.0.1"
    """Address the embedded broker listens on; or, with `embedded: false`, where the broker is."""
    port: Port = 1883
    """Its port."""
    url: str | None = None
    """Another broker, such as mqtts://broker.example:8883; nothing is embedded then."""
    queue: Annotated[int, Field(ge=1)] = 1_000_000
    """Most messages the embedded broker keeps for one client that is away."""
    queue_size: Size = 256_000_000
    """Most bytes it keeps for one client that is away."""
    listeners: tuple[ListenerSettings, ...] = ()
    """Where the embedded broker listens for devices on the network, besides `berrygate broker
    open`."""

    @model_validator(mode="after")
    def _one(self) -> "BrokerSettings":
        if self.url is not None and self.embedded and "embedded" in self.model_fields_set:
            fix = "leave out embedded, or leave out url"
            raise wrong("embedded", "either the embedded broker or a url, not both", fix)
        if self.runs_embedded and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise wrong(
                "host",
                "the embedded broker lets anybody in here, so it listens on loopback only",
                "host: 127.0.0.1; for devices on the network: berrygate broker open",
            )
        self._check_listeners()
        if self.runs_embedded:
            message = "the embedded broker asks nobody on this machine for it"
            self.refuse_access(message, "leave out {key}, or name another broker with url:")
        return self

    def _check_listeners(self) -> None:
        if self.listeners and not self.runs_embedded:
            fix = "leave out listeners; that broker is opened to the network by its own settings"
            raise wrong("listeners", "only the embedded broker has listeners", fix)
        ports = [self.port, *(each.port for each in self.listeners)]
        if len(set(ports)) < len(ports):
            raise wrong("listeners", "two listeners have one port", "give each its own port")

    @property
    def runs_embedded(self) -> bool:
        """Whether a mosquitto of our own is to run."""
        return self.embedded and self.url is None

    @property
    def endpoint(self) -> Endpoint:
        """How to reach the broker."""
        found = parse_url(self.url) if self.url else Endpoint(host=self.host, port=self.port)
        return self.reached_at(found)


class JournalSettings(Settings):
    """The durable log that everything goes through."""

    gather: Duration = 1.0
    """The longest a reading waits for its commit to disk. Longer wears the card less and risks
    more at a power cut; 30s is the card saver."""
    max_size: Annotated[Size, Field(ge=8_000_000)] = 1_000_000_000
    """Most space the journal takes; the oldest goes first."""
    max_age: Duration = 7 * 86_400.0
    """The longest readings are kept for bridges that cannot be reached."""
    batch: Annotated[int, Field(ge=1, le=100_000)] = 500
    """So many readings are committed at once, without waiting for `gather` to pass."""


Kept = Literal["forever"] | Duration


class RollupSettings(Settings):
    """How long what is made of samples is kept: of each minute, hour and day the lowest, highest,
    average, sum, count, first and last."""

    minute: Kept = 180 * 86_400.0
    """Minutes."""
    hour: Kept = 5 * 365 * 86_400.0
    """Hours."""
    day: Kept = "forever"
    """Days (UTC)."""


class HistorySettings(Settings):
    """The gateway's own time series."""

    retention: Duration = 30 * 86_400.0
    """How long samples are kept as they came."""
    rollups: RollupSettings = RollupSettings()
    """How long what is made of samples is kept: of each minute, hour and day the lowest, highest,
    average, sum, count, first and last."""
    max_size: Annotated[Size, Field(ge=16_000_000)] | None = None
    """The most that all of it may take on the disk. Beyond it the oldest goes: samples first, then
    minutes, then hours. Without this key only age counts."""


class ApiSettings(Settings):
    """HTTP."""

    enabled: bool = True
    """Serve HTTP at all."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port to listen on; 0 takes any that is free and logs which."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, besides this machine's own, under which browsers may ask."""


class LimitsSettings(Settings):
    """Bounds that keep one sender from harming the rest. What is refused is counted and shown."""

    payload: Size = 256_000
    """Largest payload."""
    topic: Size = 256
    """Longest topic."""
    devices: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Most devices."""
    series: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Most metrics of one device."""
    total_series: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Most metrics of all devices together; each takes about 1 kB of memory."""
    rate: Annotated[int, Field(ge=0)] = 1_000
    """Messages a second that one device may send for long; 0 for any number. What is over is
    dropped, counted and acknowledged, so that one device does not hold up the others."""
    burst: Annotated[int, Field(ge=1)] = 1_000_000
    """How many messages of one device may come at once: as many as the broker may keep for us
    while we are away, so that what comes after an outage is never dropped."""


class ReloadSettings(Settings):
    """When the configuration is read again, besides on `berrygate reload` and SIGHUP."""

    watch: bool = False
    """Reload as soon as the file changes."""


class Config(Settings):
    """Everything that can be configured."""

    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    """Who this gateway is and where it keeps its data."""
    broker: BrokerSettings = BrokerSettings()
    """The MQTT broker."""
    journal: JournalSettings = JournalSettings()
    """The durable log that everything goes through."""
    clock: Literal["auto", "trust"] = "auto"
    """auto: readings are marked until somebody vouches for the clock. trust: it is right."""
    history: HistorySettings = HistorySettings()
    """The gateway's own time series."""
    devices: tuple[SerializeAsAny[DeviceSettings], ...] = ()
    """Where readings come from. Without this key: this machine's own sensors, and MQTT devices on
    devices/+/telemetry."""
    bridges: tuple[SerializeAsAny[BridgeSettings], ...] = ()
    """Where readings go."""
    api: ApiSettings = ApiSettings()
    """HTTP."""
    limits: LimitsSettings = LimitsSettings()
    """Bounds that keep one sender from harming the rest."""
    profiling: ProfilingSettings = ProfilingSettings()
    """How long each stage takes, and what limits the whole."""
    health: HealthSettings = HealthSettings()
    """How health is judged."""
    reload: ReloadSettings = ReloadSettings()
    """When the configuration is read again."""
    home_assistant: bool = False
    """Have Home Assistant find the devices that do not speak MQTT themselves, and the gateway's
    health (MQTT discovery)."""
    alerts: AlertsSettings = AlertsSettings()
    """What is watched, who is told, and when nobody wants to hear of it."""

    @property
    def named_devices(self) -> dict[str, DeviceSettings]:
        """Each device by its name: its id, or its type, with a number where that is taken."""
        found = names([(device.id, device.type) for device in self.devices])
        return dict(zip(found, self.devices, strict=True))

    @property
    def named_bridges(self) -> dict[str, BridgeSettings]:
        """Each bridge by its name, likewise."""
        found = names([(bridge.name, bridge.type) for bridge in self.bridges])
        return dict(zip(found, self.bridges, strict=True))


def names(given: Sequence[tuple[str | None, str]]) -> list[str]:
    """Names from (given name or None, type): a type that is taken gets a number."""
    taken = {name for name, _ in given if name}
    found = []
    for name, kind in given:
        if name is None:
            candidates = chain([kind], (f"{kind}-{number}" for number in count(2)))
            name = next(candidate for candidate in candidates if candidate not in taken)
            taken.add(name)
        found.append(name)
    return found
