"""Damage to files as disks, cards and people do it."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[random.Random, Path], None]


def flip(chance: random.Random, file: Path) -> None:
    """A few bits are another's."""
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 3, 30))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def zero(chance: random.Random, file: Path) -> None:
    """A stretch reads as zeros: a page, an erase block, the first bytes."""
    data = bytearray(file.read_bytes())
    length = chance.choice((100, 4_096, 65_536))
    start = chance.choice((0, chance.randrange(max(len(data), 1)))) // 512 * 512
    data[start : start + length] = bytes(len(data[start : start + length]))
    file.write_bytes(data)


def noise(chance: random.Random, file: Path) -> None:
    """A page holds what belongs elsewhere."""
    data = bytearray(file.read_bytes())
    start = chance.randrange(max(len(data), 1)) // 4_096 * 4_096
    data[start : start + 4_096] = chance.randbytes(len(data[start : start + 4_096]))
    file.write_bytes(data)


def truncate(chance: random.Random, file: Path) -> None:
    """The end is missing."""
    with file.open("r+b") as opened:
        opened.truncate(chance.randrange(max(file.stat().st_size, 1)))


def empty(chance: random.Random, file: Path) -> None:
    """Nothing is in it."""
    file.write_bytes(b"")


def remove(chance: random.Random, file: Path) -> None:
    """It is gone."""
    file.unlink()


def directory(chance: random.Random, file: Path) -> None:
    """A directory has its name."""
    file.unlink()
    file.mkdir()
    (file / "something").write_text("not ours")


def other_kind(chance: random.Random, file: Path) -> None:
    """Somebody else's file has its name: a text, an archive, another program's database."""
    kind = chance.choice(("text", "random", "database", "newer"))
    file.unlink()
    if kind in ("text", "random"):
        file.write_bytes(b"hello\n" * 99 if kind == "text" else chance.randbytes(20_000))
        return
    # Made in memory: beside a log that is damaged too, SQLite would refuse to make it.
    other = sqlite3.connect(":memory:")
    other.execute("CREATE TABLE chunk (something TEXT)" if kind == "newer" else "CREATE TABLE t(x)")
    other.execute(f"PRAGMA user_version = {chance.choice((0, 99))}")
    other.commit()
    file.write_bytes(other.serialize())
    other.close()


DAMAGES: tuple[Damage, ...] = (
    flip, zero, noise, truncate, empty, remove, directory, other_kind,
)  # fmt: skip


def copy_of(source: Path, target: Path) -> Path:
    """A whole directory, to be damaged; sockets are left out."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=lambda path, names: [
        name for name in names if not (Path(path) / name).is_file()
        and not (Path(path) / name).is_dir()
    ])  # fmt: skip
    return target
