"""A scale on a serial line, which is a pseudo-terminal. Its plug is loose."""

import asyncio
import contextlib
import os
import tty
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gateway.demo.site import Place

PLUGGED, PULLED = 20.0, 8.0
"""How long the plug is in, and out (s)."""
_EVERY = 1.0


class Serial:
    """See gateway.demo.parts.Part."""

    needs: ClassVar[str] = "serial"
    devices: ClassVar[Sequence[str]] = ("scale",)
    hints: ClassVar[Mapping[str, str]] = {
        "scale": f"its plug is loose: {PULLED:g} s offline, then under another name of the kernel's"
    }

    def __init__(self, place: Place) -> None:
        self._day = place.day
        self._link = place.directory / "scale"

    def sources(self) -> list[dict[str, Any]]:
        """See gateway.demo.parts.Part."""
        codec = {"type": "text", "pattern": r"W: *(?P<weight>[0-9.]+) kg"}
        return [
            {"type": "serial", "id": "scale", "port": str(self._link.absolute()), "codec": codec}
        ]

    async def run(self) -> None:
        """See gateway.demo.parts.Part."""
        while True:
            await self._plugged()
            await asyncio.sleep(PULLED)

    async def _plugged(self) -> None:
        """One stay of the plug in its socket."""
        master, slave = os.openpty()
        try:
            tty.setraw(slave)
            os.set_blocking(master, False)
            _lead(self._link, Path(os.ttyname(slave)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PLUGGED):
                    await self._speak(master)
        finally:
            self._link.unlink(missing_ok=True)
            os.close(master)
            os.close(slave)

    async def _speak(self, master: int) -> None:
        while True:
            crates = int(self._day.passed * 7) % 12
            line = f"W: {max(self._day.about(1.2 + crates * 6.5, 0.02, 2), 0):7.2f} kg\r\n"
            with contextlib.suppress(BlockingIOError):  # nobody reads: it is lost, as on a cable
                os.write(master, line.encode())
            await asyncio.sleep(_EVERY)


def _lead(link: Path, target: Path) -> None:
    """Have a link lead there, at once."""
    new = link.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
