"""The configuration, and the running gateway."""

import json
import os
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.config import InvalidConfig, load
from gateway.core.settings import duration_text
from gateway.doctor.findings import Finding, Peer, Scene, content, fail, is_there, ok, skip, warn
from gateway.web.sockets import connect

_ANSWER = 5.0
_UCRED = struct.Struct("3i")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)")
_FILE = re.compile(r"\$\{file:([^}]+)\}")
_LOOK = "see why: berrygate status"


def look(path: Path | None, sockets: Sequence[Path]) -> Scene:
    """What there is to look at: the configuration, and the gateway if one answers."""
    scene = Scene(path)
    try:
        scene.config = load(path, environment(path))
    except InvalidConfig as error:
        scene.problems = error.problems
    scene.secret_files = _secret_files(path)
    _ask(scene, sockets)
    return scene


def environment(path: Path | None) -> Mapping[str, str]:
    """Ours, and what the service has from the file beside the configuration."""
    text = content(path.with_suffix(".env")) if path is not None else None
    found = (_ASSIGNMENT.fullmatch(line) for line in (text or "").splitlines())
    return {match[1]: match[2].strip().strip("\"'") for match in found if match} | os.environ


def _secret_files(path: Path | None) -> tuple[Path, ...]:
    """Files that secrets are taken from."""
    if path is None:
        return ()
    names = _FILE.findall(content(path) or "")
    files = [path.parent / name for name in names] + [path.with_suffix(".env")]
    return tuple(file for file in files if is_there(file))


def _ask(scene: Scene, sockets: Sequence[Path]) -> None:
    scene.unreachable = (
        "no gateway is running",
        "berrygate run, or sudo systemctl start berrygate",
    )
    for place in sockets:
        try:
            with connect(place, _ANSWER) as connection:
                credentials = connection.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
                )
                answer = _answer(connection, "status")
        except PermissionError:
            fix = "run this with sudo, or become a member of the gateway's group"
            scene.unreachable = (f"{place}: you may not use it", fix)
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError | ValueError):
                fix = "see its log; restart it if it stays so"
                scene.unreachable = (f"{place}: it does not answer", fix)
        else:
            pid, uid, _ = _UCRED.unpack(credentials)
            scene.status, scene.peer, scene.socket = answer, Peer(pid, uid), place
            return


def ask(place: Path, call: str) -> Any:
    """What the gateway says of one call; None where it does not."""
    try:
        with connect(place, _ANSWER) as connection:
            return _answer(connection, call)
    except (OSError, ValueError):
        return None


def _answer(connection: socket.socket, call: str) -> Any:
    """Raises OSError, ValueError."""
    connection.settimeout(_ANSWER)
    connection.sendall(json.dumps({"call": call}).encode() + b"\n", socket.MSG_NOSIGNAL)
    with connection.makefile("rb") as lines:
        answer = json.loads(lines.readline())
    if "ok" not in answer:
        raise PermissionError(answer["error"]["message"])
    return answer["ok"]


def configuration(scene: Scene) -> list[Finding]:
    """Whether it can be used."""
    check = "config.valid"
    shown = "the built-in configuration" if scene.path is None else str(scene.path)
    if scene.config is None:
        return [
            fail(
                check,
                f"line {problem.line}: {problem.message}",
                problem.fix or "berrygate check says more",
                problem.path,
            )
            for problem in scene.problems
        ]
    parts = f"{len(scene.config.devices)} device(s), {len(scene.config.bridges)} bridge(s)"
    return [ok(check, f"{shown}: {parts}")]


def running(scene: Scene) -> list[Finding]:
    """Whether a gateway runs and answers."""
    check = "gateway.running"
    if scene.status is not None and scene.peer is not None:
        up = duration_text(float(round(scene.status["uptime"])))
        return [ok(check, f"process {scene.peer.pid}, for {up}")]
    holder = _holder(scene)
    seen, fix = scene.unreachable
    if holder:
        return [
            fail(check, f"process {holder} uses {scene.data_dir} and cannot be asked: {seen}", fix)
        ]
    return [warn(check, seen, fix)]


def _holder(scene: Scene) -> int | None:
    """The process that has the data directory's lock, from /proc/locks: trying the lock would
    stop a gateway that starts just now."""
    try:
        inode = (scene.data_dir / "lock").stat().st_ino
    except OSError:
        return None
    for line in (content(scene.root / "proc/locks") or "").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None


def version(scene: Scene) -> list[Finding]:
    """Whether what runs is what is installed."""
    check = "gateway.version"
    if scene.status is None:
        return [skip(check, "no gateway runs")]
    theirs = scene.status["version"]
    if theirs != __version__:
        seen = f"{theirs} runs, {__version__} is installed"
        return [warn(check, seen, "sudo systemctl restart berrygate")]
    return [ok(check, theirs)]


def health(scene: Scene) -> list[Finding]:
    """What the running gateway says of itself."""
    check = "gateway.health"
    if scene.status is None:
        return [skip(check, "no gateway runs")]
    status = scene.status
    level, score = status["health"]["level"], status["health"]["score"]
    texts = [reason.get("text") or reason["metric"] for reason in status["health"]["reasons"]]
    seen = "; ".join([f"{level} {score}", *status["reasons"], *texts])
    sides = status["ledger"]["sources"], status["ledger"]["bridges"]
    lost = sum(abs(each["difference"]) for side in sides for each in side.values())
    if lost:
        fix = "this is a bug: please report it with berrygate doctor --bundle FILE"
        return [fail(check, f"{lost} records unexplained; {seen}", fix)]
    if not status["ready"] or level in ("CRITICAL", "FAILED"):
        return [fail(check, seen, _LOOK)]
    return [warn(check, seen, _LOOK) if level == "WARNING" else ok(check, seen)]


def limits(scene: Scene) -> list[Finding]:
    """How near the limits are, and what was refused because of them."""
    check = "gateway.limits"
    found = scene.status.get("limits") if scene.status else None
    if not found:
        return [skip(check, "no gateway runs")]
    refused = {name: each["refused"] for name, each in found.items() if each["refused"]}
    full = [n for n, each in found.items() if (each["used"] or 0) >= each["limit"] > 0]
    if not refused and not full:
        return [ok(check, "nothing refused")]
    seen = ", ".join(f"{name}: {count:,} refused" for name, count in refused.items())
    keys = ", ".join(f"limits.{name}" for name in {**refused, **dict.fromkeys(full)})
    fix = f"see which device it is (berrygate devices), or raise {keys}"
    return [warn(check, seen or f"full: {', '.join(full)}", fix)]
