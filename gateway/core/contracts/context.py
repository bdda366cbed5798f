"""What a driver is given of the house when it is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.core.contracts.codecs import Codec
from gateway.core.errors import ConfigError
from gateway.core.events import Event


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach an MQTT broker. Empty strings mean: not set. password is in the clear here;
    never log this object (its repr leaves the password out)."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True
    protocol: str = "5"  # "5" or "3.1.1"


def _no_codec(name: str) -> Codec:
    raise ConfigError(f"no codec {name} here")


@dataclass(frozen=True, slots=True)
class Context:
    """What a driver may use of the house.

    gateway: the gateway's id. root: first level of our own MQTT topics. data_dir: where it may
    keep files. broker: the gateway's broker. emit: tell the bus that something happened.
    payload: largest payload taken (bytes); more of one need not be read.
    facts: what only the house knows: "broker_pid", its broker's process; "broker_connected",
    whether it is connected to its broker; "health", its health in short.
    gather: the longest a reading waits for its commit as things are set (s); against it a source
    may weigh how long it lets what comes gather.
    codec: a codec by its name, with its default settings; raises ConfigError where it is not to be
    had.
    """

    gateway: str
    root: str
    data_dir: Path
    broker: Endpoint
    emit: Callable[[Event], None]
    payload: int = 256_000
    facts: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    gather: Callable[[], float] = lambda: 1.0
    codec: Callable[[str], Codec] = _no_codec
