"""Every check, side by side, none of which can hold up the others."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, cast

from gateway.doctor import (
    access,
    disk,
    gateway,
    machine,
    network,
    sensor_buses,
    serial_ports,
    service,
    stores,
)
from gateway.doctor.findings import Finding, Scene, State, fail
from gateway.io.blocking import Blocking

_LONGEST = 12.0
"""How long one check may take (s). They run side by side, so that is how long all may take."""

Check = Callable[[Scene], list[Finding] | Awaitable[list[Finding]]]

CHECKS: dict[str, Check] = {
    "config.valid": gateway.configuration,
    "config.readable": access.configuration,
    "config.secrets": access.secrets,
    "gateway.running": gateway.running,
    "gateway.version": gateway.version,
    "gateway.health": gateway.health,
    "gateway.limits": gateway.limits,
    "gateway.service": service.service,
    "broker.program": network.program,
    "broker.reachable": network.broker,
    "source": network.sources,
    "source.port": serial_ports.ports,
    "source.bus": sensor_buses.buses,
    "bridge.reachable": network.bridges,
    "bridge.delivery": network.deliveries,
    "certificate": access.certificates_valid,
    "clock.synchronised": machine.clock,
    "disk.space": disk.space,
    "disk.writable": disk.writable,
    "disk.kind": disk.kind,
    "disk.errors": disk.errors,
    "disk.wear": disk.wear,
    "disk.life": disk.life,
    "store.journal": stores.journal,
    "store.databases": stores.databases,
    "access.data": access.data,
    "access.groups": access.groups,
    "access.ports": network.ports,
    "machine.power": machine.power,
    "machine.temperature": machine.temperature,
    "machine.memory": machine.memory,
    "machine.versions": machine.versions,
}
"""By stable name, in the order they are shown."""
ALSO = ("clock.offset",)
"""What is said by a check of another name."""


async def examine(scene: Scene, checks: dict[str, Check] = CHECKS) -> list[Finding]:
    """What every check says. Never raises, and ends in time."""
    found = await asyncio.gather(*(_examined(name, do, scene) for name, do in checks.items()))
    return [finding for each in found for finding in each]


async def _examined(name: str, check: Check, scene: Scene) -> list[Finding]:
    try:
        async with asyncio.timeout(_LONGEST):
            if inspect.iscoroutinefunction(check):
                return await cast("Awaitable[list[Finding]]", check(scene))
            # In a thread: a disk that hangs must not stop the other checks.
            blocking = cast("Callable[[Scene], list[Finding]]", check)
            return await Blocking(f"doctor-{name}").call(lambda: blocking(scene), _LONGEST)
    except TimeoutError:
        fix = "look at what it looks at: it hangs"
        return [fail(name, f"not known after {_LONGEST:g} s", fix)]
    except Exception as error:  # noqa: BLE001 - the edge: a bug in one check must not hide the rest
        fix = "this is a bug in the check; please report it"
        return [fail(name, f"the check failed: {type(error).__name__}: {error}", fix)]


def report(findings: list[Finding]) -> dict[str, Any]:
    """For `--json`: names in it are stable."""
    states = {state.value: sum(f.state is state for f in findings) for state in State}
    return {
        "ok": not states["FAIL"],
        "counts": states,
        "findings": [asdict(finding) | {"state": finding.state.value} for finding in findings],
    }
