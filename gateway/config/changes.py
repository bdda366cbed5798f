"""What differs between two configurations, by the parts of the gateway that it concerns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.config.models import Config

FIXED = ("gateway", "clock")
"""Sections that a running gateway cannot change: who it is and where its data lies."""


@dataclass(frozen=True, slots=True)
class Named:
    """Names of devices or bridges by what became of them."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)

    @property
    def gone(self) -> list[str]:
        """What must end."""
        return [*self.removed, *self.changed]

    @property
    def come(self) -> list[str]:
        """What must begin."""
        return [*self.changed, *self.added]


@dataclass(frozen=True, slots=True)
class Changes:
    """sections: top-level keys, besides devices and bridges, whose values differ."""

    devices: Named
    bridges: Named
    sections: frozenset[str]

    @property
    def fixed(self) -> list[str]:
        """Changed sections that take effect only when the gateway is started again."""
        return [section for section in FIXED if section in self.sections]

    def __bool__(self) -> bool:
        return bool(self.sections or self.devices.gone or self.devices.come) or bool(
            self.bridges.gone or self.bridges.come
        )

    def as_dict(self) -> dict[str, Any]:
        """For people and scripts."""
        return {
            "sections": sorted(self.sections),
            **{
                kind: {"added": n.added, "removed": n.removed, "changed": n.changed}
                for kind, n in (("devices", self.devices), ("bridges", self.bridges))
            },
        }


def changes(old: Config, new: Config) -> Changes:
    """What it takes to get from one configuration to another. A device or bridge is its name:
    one with the same name and other settings is changed, not another one."""
    # The broker is every MQTT source's, and the limits are every source's.
    everywhere = old.broker != new.broker or old.limits != new.limits
    return Changes(
        devices=_named(old.named_devices, new.named_devices, everywhere),
        bridges=_named(old.named_bridges, new.named_bridges, False),
        sections=frozenset(
            key
            for key in Config.model_fields
            if key not in ("devices", "bridges") and getattr(old, key) != getattr(new, key)
        ),
    )


def _named(old: Mapping[str, Any], new: Mapping[str, Any], everywhere: bool) -> Named:
    kept = [name for name in new if name in old]
    changed = [name for name in kept if everywhere or old[name] != new[name]]
    return Named(
        added=[name for name in new if name not in old],
        removed=[name for name in old if name not in new],
        changed=changed,
        same=[name for name in kept if name not in changed],
    )
