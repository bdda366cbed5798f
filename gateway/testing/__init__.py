"""For authors of drivers: one test that tells whether a driver keeps what the gateway relies on.

    async def test_dice() -> None:
        await check_device(DiceSettings, {"sides": 6})

What is wrong is raised as Unfit, with what to do about it. See docs/howto/write-a-driver.md.
"""

from gateway.testing.bridges import check_bridge
from gateway.testing.devices import check_device
from gateway.testing.verdict import Unfit

__all__ = ["Unfit", "check_bridge", "check_device"]
