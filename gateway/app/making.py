"""Single parts of the gateway, each made as the configuration wants it; wiring begins and ends
them."""

from typing import Any

from gateway.app.opening import broker_saves_every
from gateway.broker import BrokerOptions, EmbeddedBroker, Lan, LanControl, Listener
from gateway.config import Config
from gateway.config.models import ListenerSettings
from gateway.core.contracts import (
    Asking,
    Codec,
    CodecMapped,
    Device,
    Measured,
    Naming,
    Publishing,
    Recoding,
    TopicMapped,
)
from gateway.core.settings import DeviceSettings
from gateway.runtime.announce import Announcer
from gateway.runtime.broker_drops import BrokerDrops
from gateway.runtime.decoded import Limits
from gateway.runtime.decoding import Decoder
from gateway.runtime.house import House
from gateway.runtime.intake import Intake, Services


def embedded_broker(config: Config, house: House) -> tuple[EmbeddedBroker, LanControl]:
    """The embedded broker, not yet running, and what opens it to the LAN."""
    settings = config.broker
    options = BrokerOptions(
        settings.host, settings.port, settings.queue, settings.queue_size,
        autosave=broker_saves_every(config.journal),
    )  # fmt: skip
    directory = config.gateway.data_dir.absolute() / "broker"
    lan = Lan(directory, house.topics, [_listener(each) for each in settings.listeners])
    broker = EmbeddedBroker(directory, options, house.bus.emit, lan)
    return broker, LanControl(broker, lan, house.topics.gateway)


def _listener(settings: ListenerSettings) -> Listener:
    users = {name: secret.get_secret_value() for name, secret in settings.users.items()}
    return Listener(settings.host, settings.port, settings.tls, users)


def broker_status(
    announcer: Announcer, broker: EmbeddedBroker | None, drops: BrokerDrops | None
) -> dict[str, Any]:
    """The broker for status. broker, drops: None where it is not ours."""
    return {
        "connected": announcer.connected,
        "trouble": announcer.trouble or None,
        "embedded": broker is not None,
        "pid": broker.pid if broker else None,
        "restarts": broker.restarts if broker else 0,
        "dropped": drops.total if drops else None,
        "dropped_recently": drops.recent if drops else None,
        "set_aside": broker.set_aside if broker else [],
        "listeners": broker.listeners if broker else [],
        "announcements_dropped": announcer.dropped,
    }


def intake_of(
    name: str, settings: DeviceSettings, device: Device, config: Config, house: House
) -> Intake:
    """What takes in the bursts of a source: its decoder, and the stores behind it."""
    limits = config.limits
    services = Services(house.bus, house.devices_, house.dead_letters, house.profiler)
    codec = _codec(settings, device)
    able: object = codec  # to mypy no Codec can be something else too
    if isinstance(able, Naming):
        able.shared_names = house.devices_.names_of(name)
    decoder = Decoder(
        name,
        codec,
        device.device_of if isinstance(device, TopicMapped) else str,
        house.devices_,
        Limits(limits.payload, limits.topic, limits.rate, limits.burst),
        house.clock.received,
        device.codec_of if isinstance(device, CodecMapped) else None,
        house.devices_.abouts.ignored,
    )
    if isinstance(device, Measured):
        decoder.units = device.units
    return Intake(device, decoder, services, house.bus.recovered_keys(name))


def _codec(settings: DeviceSettings, device: Device) -> Codec | None:
    """A source's codec, which may ask things through it."""
    chosen = getattr(settings, "codec", None)
    if chosen is None:
        return None
    codec: Codec = chosen.build()
    if isinstance(device, Recoding):
        codec = device.recoded(codec)
    if isinstance(codec, Asking) and isinstance(device, Publishing):
        codec.ask = device.publish
    return codec
