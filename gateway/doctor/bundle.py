"""The support bundle: what others need to help, without secrets and without anybody's data."""

import io
import json
import os
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import yaml

from gateway.core.errors import BerrygateError
from gateway.doctor.access import secrets_of
from gateway.doctor.examination import report
from gateway.doctor.findings import Finding, Scene, matching, output
from gateway.doctor.gateway import ask, environment
from gateway.doctor.machine import software
from gateway.doctor.masking import Masking, known_secrets, source_of
from gateway.doctor.service import UNIT

_CALLS = ("status", "health", "performance", "bridges")
_LINES = 2_000
_METRICS = 5_000_000  # bytes
_FILES = 10_000
_README = """\
Berrygate support bundle, {time}

doctor.txt, doctor.json   what `berrygate doctor` found
configuration.yaml        the configuration; secrets are ***
versions.json             of berrygate, Python, packages, kernel, system
storage.json              names, sizes and times of the files in the data directory
log.txt                   the service's last {lines} log lines
status.json, health.json, performance.json, bridges.json, metrics.txt
                          what the running gateway says of itself
devices.json              the devices and the names of their metrics

Not in it: readings, payloads, dead letters, certificates' keys, passwords, tokens. What is missing
could not be had. Host names, addresses and device names are in it: look before you send it on.
"""


class BundleExists(BerrygateError):
    """Nothing is overwritten unasked."""


def write(path: Path, scene: Scene, findings: Sequence[Finding], text: str, force: bool) -> None:
    """The bundle at `path`, for its owner only. Raises BundleExists, OSError."""
    check_place(path, force)
    masking = _masking(scene)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _pack(file, _members(scene, findings, text, masking))
            file.flush()
            os.fsync(file.fileno())
        if force:
            partial.replace(path)
        else:
            os.link(partial, path)  # fails where the name was taken meanwhile
    except FileExistsError as error:
        raise _exists(path) from error
    finally:
        partial.unlink(missing_ok=True)


def check_place(path: Path, force: bool) -> None:
    """Raises BundleExists if something is there that may not be overwritten."""
    if not force and os.path.lexists(path):
        raise _exists(path)


def _exists(path: Path) -> BundleExists:
    return BundleExists(f"{path} is there already", fix="name another file, or add --force")


def _masking(scene: Scene) -> Masking:
    variables = environment(scene.path)
    source = source_of(scene.path, variables)
    configured = secrets_of(scene.config) if scene.config else ()
    return Masking(known_secrets(source, configured, scene.secret_files, variables))


def _pack(file: Any, members: dict[str, str]) -> None:
    now = int(time.time())
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in members.items():
            data = text.encode(errors="replace")
            entry = tarfile.TarInfo(f"berrygate-support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), now, 0o600
            archive.addfile(entry, io.BytesIO(data))


def _members(
    scene: Scene, findings: Sequence[Finding], text: str, masking: Masking
) -> dict[str, str]:
    """Every file by name; all of them masked, whatever they come from."""
    texts = {
        "README.txt": _README.format(time=time.strftime("%Y-%m-%d %H:%M:%S %z"), lines=_LINES),
        "doctor.txt": text + "\n",
        "log.txt": output(
            "journalctl", "-u", UNIT, "-n", str(_LINES), "-o", "short-iso", timeout=10
        ),
        "metrics.txt": _metrics(scene),
    }
    data: dict[str, Any] = {
        "doctor.json": report(list(findings)),
        "versions.json": software(scene.root),
        "storage.json": _storage(scene.data_dir),
    }
    if scene.socket is not None:
        data |= {f"{call}.json": ask(scene.socket, call) for call in _CALLS}
        data["devices.json"] = _devices(ask(scene.socket, "devices"))
    members = {name: masking.text(each) for name, each in texts.items() if each}
    for name, each in data.items():
        if each is not None:
            members[name] = json.dumps(masking.data(each), indent=1, default=str) + "\n"
    source = source_of(scene.path, environment(scene.path))
    if source is not None and source.data is not None:
        shown = masking.data(source.data)
        members["configuration.yaml"] = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return members


def _devices(devices: Any) -> list[dict[str, Any]] | None:
    """Everything but what they said."""
    if devices is None:
        return None
    return [{key: value for key, value in each.items() if key != "last"} for each in devices]


def _storage(directory: Path) -> list[dict[str, Any]]:
    found = []
    for path in matching(directory, "**/*")[:_FILES]:
        try:
            known = path.lstat()
        except OSError:
            continue
        found.append(
            {
                "file": str(path.relative_to(directory)),
                "bytes": known.st_size,
                "allocated": known.st_blocks * 512,
                "changed": int(known.st_mtime),
                "mode": f"{known.st_mode:o}",
                "owner": known.st_uid,
            }
        )
    return found


def _metrics(scene: Scene) -> str | None:
    """The running gateway's, over HTTP; never through a proxy."""
    if scene.status is None or scene.config is None or not scene.config.api.enabled:
        return None
    api = scene.config.api
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(api.host, api.host)
    try:
        with build_opener(ProxyHandler({})).open(
            f"http://{host}:{api.port}/metrics", timeout=5
        ) as answer:
            return str(answer.read(_METRICS).decode(errors="replace"))
    except (OSError, ValueError):
        return None
