"""The base of every configuration model, and the value types that users write.

One pydantic model is tag, schema, documentation and factory: a driver ships a subclass of
`DeviceSettings`, `BridgeSettings` or `CodecSettings` whose `type` is its name in the
configuration, whose field descriptions become the reference in docs/, and whose `build` makes
the driver.
"""

from gateway.core.settings.bridges import (
    BatchSettings,
    BreakerSettings,
    BridgeSettings,
    PoolSettings,
    RetrySettings,
    Times,
)
from gateway.core.settings.broker import BrokerAddress
from gateway.core.settings.devices import CodecSettings, DeviceSettings
from gateway.core.settings.model import ID_PATTERN, Id, Secret, Settings, wrong
from gateway.core.settings.quantities import (
    Duration,
    Size,
    duration_text,
    parse_duration,
    parse_size,
    size_text,
)

__all__ = [
    "ID_PATTERN",
    "BatchSettings",
    "BreakerSettings",
    "BridgeSettings",
    "BrokerAddress",
    "CodecSettings",
    "DeviceSettings",
    "Duration",
    "Id",
    "PoolSettings",
    "RetrySettings",
    "Secret",
    "Settings",
    "Size",
    "Times",
    "duration_text",
    "parse_duration",
    "parse_size",
    "size_text",
    "wrong",
]
