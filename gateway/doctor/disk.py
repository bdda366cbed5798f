"""The disk that data lies on: room, kind, errors, and how fast it wears.

Sources: proc_pid_mountinfo(5), proc_pid_io(5), the kernel's Documentation/block/stat.rst and, for
`life_time`, Documentation/driver-api/mmc/mmc-dev-attrs.rst.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from gateway.core.settings import duration_text
from gateway.doctor.findings import (
    Finding,
    Scene,
    content,
    fail,
    is_there,
    matching,
    ok,
    skip,
    warn,
)

_SECTOR = 512  # bytes, in /sys/dev/block whatever the disk's own is
_DAY = 86_400
_LEAST = 50_000_000  # bytes free below which nothing can be expected to work
_SETTLED = 600.0  # s before a day can be told from what was seen
_HEAVY = 10_000  # MB a day at which a cheap card of 10 TB lasts less than three years
_FORGETFUL = ("tmpfs", "ramfs")
_FAR = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs")
_PLAIN = ("vfat", "exfat", "ntfs", "ntfs3", "fuseblk")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system. device: `major:minor`; source: what is mounted."""

    point: str
    device: str
    kind: str
    source: str
    readonly: bool


def mount_of(path: Path, root: Path = Path("/")) -> Mount | None:
    """The file system that `path` lies on."""
    place = existing(path).resolve()
    found = None
    for line in (content(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) < 6 or len(tail) < 3:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        if not place.is_relative_to(point) or (found and len(found.point) > len(point)):
            continue
        readonly = "ro" in fields[5].split(",") or "ro" in tail[2].split(",")
        found = Mount(point, fields[2], tail[0], tail[1], readonly)
    return found


def existing(path: Path) -> Path:
    """`path`, or the nearest directory above it that there is."""
    place = path.absolute()
    while not is_there(place) and place != place.parent:
        place = place.parent
    return place


def space(scene: Scene) -> list[Finding]:
    """How much room there is for the journal and history."""
    check = "disk.space"
    place = existing(scene.data_dir)
    usage = psutil.disk_usage(str(place))
    free = usage.free
    nodes = os.statvfs(place)
    seen = f"{free / 1e6:,.0f} MB of {usage.total / 1e6:,.0f} MB free at {place}"
    more = "make room (sudo apt clean; journalctl --vacuum-size=50M), or lower journal.max_size"
    if free < _LEAST:
        return [fail(check, seen, more)]
    if nodes.f_files and nodes.f_favail == 0:
        return [fail(check, f"no file can be made: no inode is free at {place}", "remove files")]
    wanted = scene.config.journal.max_size if scene.config else 0
    journal = sum(_size(path) for path in matching(scene.data_dir / "journal", "*.seg"))
    if free < max(wanted - journal, 0):
        seen += f"; the journal may grow by {(wanted - journal) / 1e6:,.0f} MB"
        return [warn(check, seen, "lower journal.max_size, or make room")]
    return [ok(check, seen)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def writable(scene: Scene) -> list[Finding]:
    """Whether the disk takes data. Nothing is written to find out."""
    check = "disk.writable"
    mount = mount_of(scene.data_dir, scene.root)
    if mount is not None and mount.readonly:
        fix = f"sudo mount -o remount,rw {mount.point}; see sudo dmesg for why it was closed"
        return [fail(check, f"{mount.point} is mounted read-only", fix)]
    trouble = scene.status["journal"].get("trouble") if scene.status else None
    if trouble:
        fix = "make room or repair the disk; see sudo dmesg. Devices are held back meanwhile"
        return [fail(check, f"the journal's disk refuses: {trouble}", fix)]
    return [ok(check, f"{mount.point if mount else scene.data_dir} is mounted for writing")]


def kind(scene: Scene) -> list[Finding]:
    """Whether the file system keeps what it is given, and knows locks and owners."""
    check = "disk.kind"
    mount = mount_of(scene.data_dir, scene.root)
    if mount is None:
        return [skip(check, "the file system cannot be told")]
    seen = f"{mount.kind} ({mount.source})"
    fix = "put gateway.data_dir on a local disk with ext4, such as /var/lib/berrygate"
    if mount.kind in _FORGETFUL:
        return [warn(check, f"{seen}: all data is gone when the power is", fix)]
    if mount.kind in _FAR:
        return [warn(check, f"{seen}: a network disk; an outage of it stops the gateway", fix)]
    if mount.kind in _PLAIN:
        return [
            warn(check, f"{seen}: it knows no owners and repairs nothing after a power cut", fix)
        ]
    return [ok(check, seen)]


def errors(scene: Scene) -> list[Finding]:
    """Errors that the kernel has counted on this file system."""
    check = "disk.errors"
    mount = mount_of(scene.data_dir, scene.root)
    name = _name(scene, mount)
    found = content(scene.root / "sys/fs/ext4" / name / "errors_count") if name else None
    if found is None:
        return [skip(check, "this file system does not count errors")]
    if found != "0":
        fix = "save the data and check the disk: sudo touch /forcefsck && sudo reboot; see dmesg"
        return [fail(check, f"{found} error(s) on {name}", fix)]
    return [ok(check, f"none counted on {name}")]


def _name(scene: Scene, mount: Mount | None) -> str:
    """The block device's name, such as mmcblk0p2; "" where there is none."""
    if mount is None:
        return ""
    link = scene.root / "sys/dev/block" / mount.device
    return link.resolve().name if link.exists() else ""


def wear(scene: Scene) -> list[Finding]:
    """How much is written a day: by this gateway, and by everybody on its disk."""
    check = "disk.wear"
    ours, theirs = _own_writes(scene), _device_writes(scene)
    parts = []
    if ours is not None:
        parts.append(f"the gateway writes {ours:,.0f} MB a day")
    if theirs is not None:
        parts.append(f"the whole disk takes {theirs:,.0f} MB a day")
    if not parts:
        return [skip(check, "no counter to be had: no gateway runs long enough, no block device")]
    seen = "; ".join(parts)
    gather = scene.config.journal.gather if scene.config else 1.0
    if (ours or 0.0) > _HEAVY or (theirs or 0.0) > _HEAVY:
        fix = _advice(ours, theirs, gather)
        return [warn(check, f"{seen} (journal.gather is {duration_text(gather)})", fix)]
    return [ok(check, seen)]


def _advice(ours: float | None, theirs: float | None, gather: float) -> str:
    if (ours or 0.0) < (theirs or 0.0) / 2:
        return "see who writes: sudo iotop -ao, or lower what the system logs"
    if gather < 30:
        return "journal.gather: 30s writes less; a power cut then costs up to 30 s"
    return "move gateway.data_dir to an SSD"


def _own_writes(scene: Scene) -> float | None:
    """MB a day by the gateway and its children, from what they wrote since they began."""
    if scene.peer is None:
        return None
    try:
        process = psutil.Process(scene.peer.pid)
        age = time.time() - process.create_time()
        family = [process, *process.children(recursive=True)]
        written = sum(_written(scene.root / f"proc/{each.pid}/io") for each in family)
    except (psutil.Error, OSError):
        return None
    return written / age * _DAY / 1e6 if age > _SETTLED else None


def _written(path: Path) -> int:
    """Raises OSError where the process is not ours to look at."""
    lines = path.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _device_writes(scene: Scene) -> float | None:
    """MB a day to the disk since the machine was started."""
    mount = mount_of(scene.data_dir, scene.root)
    counters = content(scene.root / "sys/dev/block" / mount.device / "stat") if mount else None
    uptime = float((content(scene.root / "proc/uptime") or "0").split()[0])
    if counters is None or uptime < _SETTLED:
        return None
    return int(counters.split()[6]) * _SECTOR / uptime * _DAY / 1e6


def life(scene: Scene) -> list[Finding]:
    """What an eMMC or SD card itself estimates of its life: tenths used up, twice."""
    check = "disk.life"
    name = _name(scene, mount_of(scene.data_dir, scene.root))
    card = re.sub(r"p\d+$", "", name)
    said = content(scene.root / "sys/block" / card / "device/life_time") if card else None
    if not said:
        return [skip(check, "no card that tells")]
    used = max((int(word, 16) for word in said.split()), default=0)
    if used == 0:
        return [skip(check, f"{card} does not tell")]
    seen = f"{card} has used {(used - 1) * 10} to {used * 10} % of its life"
    fix = "make a backup and replace the card"
    if used >= 0x0B:
        return [fail(check, f"{card} is past its life", fix)]
    return [warn(check, seen, fix) if used >= 0x09 else ok(check, seen)]
