"""A disk as a power cut leaves it: what a real process wrote, recorded with strace, replayed.

What was synced stays. What was not is, each write for itself, dropped, kept or torn at a sector;
that is also what reordering comes to. A name in a directory is as durable as the directory's own
fsync made it: a file not yet there may be missing, a deleted one may be back. This is harsher
than any one file system, on purpose.
"""

import random
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_CALLS = "openat,pwrite64,write,fallocate,ftruncate,fdatasync,fsync,rename,unlink,close,mkdir"
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_MODES = ("dropped", "kept", "some", "some", "torn", "torn")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: begin is the place in the recording where it was entered. texts: what stood
    in quotes; numbers: the other arguments that are numbers."""

    name: str
    texts: list[bytes]
    numbers: list[int]
    flags: str
    result: int
    begin: int


def record(
    command: Sequence[str], log: Path, inject: str = "", timeout: float = 120
) -> Iterator[Call]:
    """Run a program and give its calls in the order in which they ended. inject: as strace(1)
    takes it. Raises AssertionError with what the program said if it fails."""
    extra = ["-e", f"inject={inject}"] if inject else ["--seccomp-bpf"]
    trace = ["strace", "-f", *extra, "-xx", "-s", "100000000", "-e", f"trace={_CALLS}"]
    done = subprocess.run(
        [*trace, "-o", str(log), *command], capture_output=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return calls(log.read_text())


def calls(text: str) -> Iterator[Call]:
    """What strace -f -xx wrote."""
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, resumed, rest = match.groups()
        begin = number
        if resumed is not None:
            begin, first = begun.pop(thread, (number, f"{resumed}("))
            rest = first + rest
        elif rest.endswith("<unfinished ...>"):
            begun[thread] = (number, rest.removesuffix("<unfinished ...>"))
            continue
        if (call := _CALL.match(rest)) and (result := _RESULT.search(rest)):
            arguments = call[2][: result.start() - call.start(2)]
            plain = _TEXT.sub("", arguments)
            yield Call(
                call[1],
                [bytes.fromhex(found.replace("\\x", "")) for found in _TEXT.findall(arguments)],
                [int(n) for n in re.findall(r"(?<![\w.])-?\d+", plain)],
                plain,
                int(result[1]),
                begin,
            )


@dataclass(slots=True)
class Change:
    """What was done to a file and is not yet durable: bytes at a place, or (data None) its new
    size; `cut` if it may also have become shorter; `doomed` once an fsync of it has failed: the
    kernel calls it clean, and no later fsync writes it."""

    begin: int
    offset: int
    data: bytes | None
    cut: bool = False
    doomed: bool = False


@dataclass(slots=True)
class File:
    """A file: what of it is durable, and what was done since, oldest first."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def sync(self, begin: int) -> None:
        """What was done before `begin` is durable."""
        waiting: list[Change] = []
        for change in self.pending:
            if change.begin >= begin or change.doomed:
                waiting.append(change)
                continue
            # What is written again takes along what a failed fsync had left in the same sectors.
            taken = [old for old in waiting if old.doomed and _touch(old, change)]
            for part in (*taken, change):
                _apply(self.durable, part)
            waiting = [old for old in waiting if old not in taken]
        self.pending = waiting

    def doom(self) -> None:
        """An fsync has failed."""
        self.pending = [part for change in self.pending for part in _sectors(change)]
        for change in self.pending:
            change.doomed = True

    def after(self, chance: random.Random, mode: str) -> bytes:
        """What may be found after a power cut."""
        data = bytearray(self.durable)
        for change in self.pending:
            for part in _survivors(change, chance, mode):
                _apply(data, part)
        return bytes(data)


def _apply(data: bytearray, change: Change) -> None:
    if change.data is None:
        if change.cut:
            del data[change.offset :]
        data.extend(bytes(max(0, change.offset - len(data))))
        return
    data.extend(bytes(max(0, change.offset - len(data))))
    data[change.offset : change.offset + len(change.data)] = change.data


def _survivors(change: Change, chance: random.Random, mode: str) -> Iterator[Change]:
    how = chance.choice(("dropped", "kept")) if mode == "some" else mode
    if mode == "torn":
        how = chance.choice(("dropped", "kept", "torn", "torn"))
    if how == "kept" or (how == "torn" and change.data is None):
        yield change
    elif how == "torn":
        yield from (part for part in _sectors(change) if chance.random() < 0.5)


def _sectors(change: Change) -> Iterator[Change]:
    """The same change, sector by sector."""
    if change.data is None:
        yield change
        return
    offset, end = change.offset, change.offset + len(change.data)
    while offset < end:
        stop = min(end, (offset // SECTOR + 1) * SECTOR)
        yield Change(
            change.begin, offset, change.data[offset - change.offset : stop - change.offset]
        )
        offset = stop


def _touch(old: Change, new: Change) -> bool:
    if old.data is None or new.data is None:
        return False
    sector = old.offset // SECTOR
    return new.offset // SECTOR <= sector <= (new.offset + len(new.data) - 1) // SECTOR


@dataclass(slots=True)
class Name:
    """A name in the directory that came, or (file None) went."""

    begin: int
    name: str
    file: File | None


class Disk:
    """One directory, as a recording leaves it. facts: called with each line that the program
    wrote to its standard output."""

    def __init__(self, directory: Path, facts: Callable[[list[str]], None]) -> None:
        self._root = str(directory).encode()
        self._facts = facts
        self._known = False  # whether the directory's own name is durable in its parent
        self._made = 0
        self._durable: dict[str, File] = {}
        self._now: dict[str, File] = {}
        self._pending: list[Name] = []
        self._open: dict[int, File | bytes] = {}  # bytes: a directory

    def restart(self) -> None:
        """The program ended; another one begins. Nothing of it becomes durable by that."""
        self._open = {}
        for file in self._now.values():
            for change in file.pending:
                change.begin = -1
        for name in self._pending:
            name.begin = -1
        self._made = -1

    @property
    def unsynced(self) -> bool:
        """Whether a power cut now would leave more than one possible disk."""
        return bool(self._pending) or any(file.pending for file in self._now.values())

    def take(self, call: Call) -> None:
        """Follow one call."""
        follow = getattr(self, f"_{call.name}", None)
        if follow is not None and call.result >= 0:
            follow(call)
        elif call.name in ("fsync", "fdatasync") and isinstance(
            file := self._open.get(call.numbers[0]), File
        ):
            file.doom()

    def _write(self, call: Call) -> None:
        if call.numbers[0] == 1:
            for line in call.texts[0].decode().splitlines():
                self._facts(line.split())

    def _mkdir(self, call: Call) -> None:
        if call.texts[0] == self._root:
            self._made = call.begin

    def _openat(self, call: Call) -> None:
        path = call.texts[0]
        if not (path + b"/").startswith(self._root.rsplit(b"/", 1)[0] + b"/"):
            return
        if "O_DIRECTORY" in call.flags:
            self._open[call.result] = path
        elif path.startswith(self._root + b"/"):
            name = path.rsplit(b"/", 1)[1].decode()
            file = self._now.get(name)
            if file is None:
                file = self._now[name] = File()
                self._pending.append(Name(call.begin, name, file))
            if "O_TRUNC" in call.flags:
                file.pending.append(Change(call.begin, 0, None, cut=True))
            self._open[call.result] = file

    def _close(self, call: Call) -> None:
        self._open.pop(call.numbers[0], None)

    def _pwrite64(self, call: Call) -> None:
        if isinstance(file := self._open.get(call.numbers[0]), File):
            data = call.texts[0][: call.result]
            file.pending.append(Change(call.begin, call.numbers[2], data))

    def _fallocate(self, call: Call) -> None:
        if isinstance(file := self._open.get(call.numbers[0]), File):
            _, _, offset, length = call.numbers
            file.pending.append(Change(call.begin, offset + length, None))

    def _ftruncate(self, call: Call) -> None:
        if isinstance(file := self._open.get(call.numbers[0]), File):
            file.pending.append(Change(call.begin, call.numbers[1], None, cut=True))

    def _fdatasync(self, call: Call) -> None:
        target = self._open.get(call.numbers[0])
        if isinstance(target, File):
            target.sync(call.begin)
        elif target == self._root:
            for name in self._pending:
                if name.begin < call.begin:
                    _rename(self._durable, name)
            self._pending = [name for name in self._pending if name.begin >= call.begin]
        elif target == self._root.rsplit(b"/", 1)[0] and self._made < call.begin:
            self._known = True

    _fsync = _fdatasync

    def _unlink(self, call: Call) -> None:
        path = call.texts[0]
        if path.startswith(self._root + b"/"):
            name = path.rsplit(b"/", 1)[1].decode()
            self._now.pop(name, None)
            self._pending.append(Name(call.begin, name, None))

    def _rename(self, call: Call) -> None:
        old, new = (text.rsplit(b"/", 1)[1].decode() for text in call.texts)
        if call.texts[0].startswith(self._root + b"/") and old in self._now:
            file = self._now[new] = self._now.pop(old)
            self._pending += [Name(call.begin, new, file), Name(call.begin, old, None)]

    def cut(self, chance: random.Random, directory: Path) -> str:
        """Fill a fresh directory with what a power cut now may leave; how harsh it was."""
        mode = chance.choice(_MODES)
        if not self._known and (mode == "dropped" or chance.random() < 0.1):
            return "the directory itself is gone"
        names = dict(self._durable)
        for name in self._pending:
            if mode == "kept" or (mode != "dropped" and chance.random() < 0.5):
                _rename(names, name)
        directory.mkdir()
        for found, file in names.items():
            (directory / found).write_bytes(file.after(chance, mode))
        return mode


def _rename(names: dict[str, File], change: Name) -> None:
    if change.file is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.file
