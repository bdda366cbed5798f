"""What a journal's device is given for each message: a new file for each segment, and files that
are used again. Needs root.

python -m tests.benchmarks.reuse
"""

import asyncio
import random
import subprocess
import tempfile
from pathlib import Path

from gateway.core.contracts import Reading
from tests.support.disks import Card
from tests.support.journal import open_bus, options, publish, running

_COMMIT = 500  # messages
_BEFORE, _COMMITS = 1_000, 500  # commits until a small journal is full, and those that count
_SEGMENT = 500_000
_SECTOR = 512


def commit(number: int) -> list[Reading]:
    """Messages of four values."""
    return [
        Reading(
            f"device-{n % 100:05d}",
            1_790_000_000_000_000_000 + n * 1_000_000,
            {
                "seq": float(n),
                "sent": round(1.79e9 + n / 1000 + random.random() / 500, 4),
                "humidity": float(n % 37),
                "power": random.randrange(10**12) / 1000,
            },
        )
        for n in range(number * _COMMIT, (number + 1) * _COMMIT)
    ]


def synced(card: Card) -> None:
    """Have all that is in memory on the card."""
    subprocess.run(["sync", "-f", str(card.directory)], check=True)


async def written(card: Card, most: int) -> tuple[float, float]:
    """Bytes a message that the device was given, and that the journal's blocks are. most: bytes
    that are kept."""
    stat = Path("/sys/block") / Path(card.device).name / "stat"
    settings = options(segment=_SEGMENT, max_size=most, gather=1.0)
    begun = own = 0
    async with open_bus(card.directory / "journal", settings) as bus, running(bus):
        for number in range(_BEFORE + _COMMITS):
            if number == _BEFORE:
                await asyncio.to_thread(synced, card)
                begun, own = int(stat.read_text().split()[6]), bus.journal.appended
            await publish(bus, commit(number))
            if number % 20 == 0:
                await bus.keeper.look()
        await asyncio.to_thread(synced, card)
        device = (int(stat.read_text().split()[6]) - begun) * _SECTOR
        messages = _COMMIT * _COMMITS
        return device / messages, (bus.journal.appended - own) / messages


def main() -> None:
    """Measure and print."""
    for name, most in (("new files", 10**9), ("used again", 4 * _SEGMENT)):
        with tempfile.TemporaryDirectory() as directory, Card(Path(directory), 300) as card:
            device, own = asyncio.run(written(card, most))
            print(f"{name:10} {device:5.1f} bytes a message, of these blocks {own:.1f}")


if __name__ == "__main__":
    main()
