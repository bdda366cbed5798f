"""What the parts of the gateway hand each other. Everything here is data or a protocol; no I/O.

The unit of work is a burst, not a message: what comes off the wire in one read is decoded,
journalled, acknowledged and delivered together, so that the cost of a task, a lock or a wake-up
is shared.

Whoever is outside takes them from here, not from the modules.
"""

from gateway.core.contracts.bridges import (
    Batch,
    Bridge,
    Checkable,
    Conn,
    ConnT,
    DriverFigures,
    Endpoints,
    PooledByDriver,
    Selective,
    Send,
    Stage,
    Tally,
)
from gateway.core.contracts.bursts import Burst, Busy, Outcome, Rejected, Stored, boottime
from gateway.core.contracts.codecs import (
    About,
    Addressed,
    Asking,
    Codec,
    HostState,
    Introducing,
    Measured,
    Names,
    Naming,
    Plain,
)
from gateway.core.contracts.commands import Actuator, Command, Ordering, Reply
from gateway.core.contracts.context import Context, Endpoint
from gateway.core.contracts.devices import (
    CodecMapped,
    Described,
    Detailed,
    Device,
    Publishing,
    Recoding,
    Several,
    TopicMapped,
    Watched,
)
from gateway.core.contracts.readings import Flag, Reading, Value

__all__ = [
    "About",
    "Actuator",
    "Addressed",
    "Asking",
    "Batch",
    "Bridge",
    "Burst",
    "Busy",
    "Checkable",
    "Codec",
    "CodecMapped",
    "Command",
    "Conn",
    "ConnT",
    "Context",
    "Described",
    "Detailed",
    "Device",
    "DriverFigures",
    "Endpoint",
    "Endpoints",
    "Flag",
    "HostState",
    "Introducing",
    "Measured",
    "Names",
    "Naming",
    "Ordering",
    "Outcome",
    "Plain",
    "PooledByDriver",
    "Publishing",
    "Reading",
    "Recoding",
    "Rejected",
    "Reply",
    "Selective",
    "Send",
    "Several",
    "Stage",
    "Stored",
    "Tally",
    "TopicMapped",
    "Value",
    "Watched",
    "boottime",
]
