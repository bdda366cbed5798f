"""The embedded broker: a mosquitto of our own, and what it lets in from the network."""

from gateway.broker.child import EmbeddedBroker
from gateway.broker.configuration import BrokerOptions
from gateway.broker.lan import Lan, Listener
from gateway.broker.lan_control import LanControl
from gateway.broker.probing import accepts, answers, owner

__all__ = [
    "BrokerOptions", "EmbeddedBroker", "Lan", "LanControl", "Listener", "accepts", "answers",
    "owner",
]  # fmt: skip
