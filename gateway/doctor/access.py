"""Who may read and write what: data, secrets, hardware, certificates."""

import grp
import os
import pwd
import re
import ssl
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.core.settings import Secret
from gateway.doctor.findings import Finding, Scene, fail, is_there, matching, ok, output, skip, warn
from gateway.doctor.service import properties

_DAY = 86_400
_SOON = 30 * _DAY
_MOST_CERTIFICATES = 20  # a bundle of authorities is not looked through
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HARDWARE = {  # group -> (its devices, the driver types that need it)
    "gpio": (("gpiochip*", "gpiomem*"), ("gpio",)),
    "i2c": (("i2c-*",), ("i2c",)),
    "spi": (("spidev*",), ("spi",)),
    "dialout": (("ttyUSB*", "ttyACM*", "ttyAMA*"), ("serial", "modbus")),
    "video": (("vcio",), ()),
}


@dataclass(frozen=True, slots=True)
class User:
    """Whom the gateway runs as."""

    name: str
    uid: int
    groups: frozenset[int]


def user(scene: Scene) -> User:
    """The running gateway's user, else the service's, else us."""
    name = properties().get("User", "") if scene.peer is None else ""
    uid = scene.peer.uid if scene.peer else os.geteuid()
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, frozenset())
    groups = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_name, entry.pw_uid, groups)


def may(who: User, path: Path, bit: int) -> bool:
    """Whether a user may read (4), write (2) and enter (1), by the plain permission bits. Raises
    OSError."""
    if who.uid == 0:
        return True
    found = path.stat()
    shift = 6 if found.st_uid == who.uid else 3 if found.st_gid in who.groups else 0
    return stat.S_IMODE(found.st_mode) >> shift & bit == bit


def configuration(scene: Scene) -> list[Finding]:
    """Whether the gateway's user may read its configuration."""
    check = "config.readable"
    if scene.path is None:
        return [skip(check, "no file: the built-in configuration")]
    who = user(scene)
    for path in (scene.path, *scene.secret_files):
        way = [(part, 1) for part in path.absolute().parents]
        for place, bit in [*way, (path, 4)]:
            if not _may(who, place, bit):
                fix = f"sudo chgrp {who.name} {place} && sudo chmod g+rX {place}"
                return [fail(check, f"{who.name} may not read {place}", fix)]
    return [ok(check, f"{scene.path}, by {who.name}")]


def _may(who: User, path: Path, bit: int) -> bool:
    try:
        return may(who, path, bit)
    except OSError:
        return False


def secrets(scene: Scene) -> list[Finding]:
    """Whether a stranger on this machine may read a secret."""
    check = "config.secrets"
    paths = list(scene.secret_files)
    if scene.path is not None and scene.config is not None and _holds_secrets(scene):
        paths.append(scene.path)
    paths += [path for name, path in certificates(scene) if name == "key_file"]
    open_ = [path for path in paths if _others_read(path)]
    if open_:
        names = " ".join(map(str, open_))
        return [warn(check, f"everybody may read {names}", f"sudo chmod o-r {names}")]
    return [ok(check, "no file with a secret is open to everybody")]


def _others_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _holds_secrets(scene: Scene) -> bool:
    """Whether the file itself has a secret in it, not only a reference to one."""
    assert scene.path is not None
    assert scene.config is not None
    try:
        text = scene.path.read_text(errors="replace")
    except OSError:
        return False
    return any(secret in text for secret in secrets_of(scene.config))


def secrets_of(model: BaseModel) -> Iterator[str]:
    """Every secret in a configuration, also the password in a URL."""
    for value in _values(model):
        if isinstance(value, Secret) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, str) and (found := re.search(r"://[^\s/@]*:([^\s@]+)@", value)):
            yield found[1]


def _values(model: Any) -> Iterator[Any]:
    if isinstance(model, BaseModel):
        yield from chain.from_iterable(_values(getattr(model, name)) for name in _fields(model))
    elif isinstance(model, dict):
        yield from chain.from_iterable(map(_values, model.values()))
    elif isinstance(model, list | tuple):
        yield from chain.from_iterable(map(_values, model))
    else:
        yield model


def _fields(model: BaseModel) -> list[str]:
    return list(type(model).model_fields)


def data(scene: Scene) -> list[Finding]:
    """Whether the gateway's user owns its data, and nobody else writes there."""
    check = "access.data"
    path = scene.data_dir
    if not is_there(path):
        return [skip(check, f"{path} is not there yet; the first start makes it")]
    who, found = user(scene), path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if not path.is_dir():
        return [fail(check, f"{path} is not a directory", "set gateway.data_dir to a directory")]
    if not (may(who, path, 2) and may(who, path, 1)):
        fix = f"sudo chown -R {who.name} {path}"
        return [fail(check, f"{who.name} may not write to {path} (mode {mode:o})", fix)]
    if mode & stat.S_IWOTH:
        return [fail(check, f"everybody may write to {path}", f"sudo chmod o-rwx {path}")]
    if strangers := _of_others(path, who):
        fix = f"sudo chown -R {who.name} {path}"
        return [fail(check, f"{strangers} belongs to another user than {who.name}", fix)]
    return [ok(check, f"{path}, {who.name}, mode {mode:o}")]


def _of_others(path: Path, who: User) -> str:
    """A file that the gateway could not open, such as one of a run with sudo."""
    if who.uid == 0:
        return ""
    for place in [*matching(path, "*"), *matching(path, "*/*")]:
        try:
            if place.stat().st_uid != who.uid and not may(who, place, 2):
                return str(place)
        except OSError:
            continue
    return ""


def groups(scene: Scene) -> list[Finding]:
    """Whether the gateway's user may use the hardware that is here."""
    check = "access.groups"
    who = user(scene)
    used = {device.type for device in scene.config.devices} if scene.config else set()
    found = []
    for group, (patterns, types) in _HARDWARE.items():
        here = [path for pattern in patterns for path in (scene.root / "dev").glob(pattern)]
        closed = [path for path in here if not _may(who, path, 6)]
        if not closed:
            continue
        owner = _group(closed[0]) or group
        seen = f"{who.name} may not use /dev/{closed[0].name}"
        fix = f"sudo usermod -aG {owner} {who.name}, then restart the gateway"
        needed = bool(used.intersection(types))
        found.append((fail if needed else warn)(check, seen, fix, group))
    return found or [ok(check, f"{who.name} may use the hardware that is here")]


def _group(path: Path) -> str:
    try:
        name = grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        return ""
    return "" if name == "root" else name


def certificates(scene: Scene) -> list[tuple[str, Path]]:
    """(ca_file, cert_file or key_file; where) of every certificate in the configuration, and of
    the embedded broker's own."""
    found: list[tuple[str, Path]] = []
    if scene.config is not None:
        _collect(scene.config, found)
    own = scene.data_dir / "broker"
    for path in matching(own, "**/*.crt"):
        found += [("cert_file", path), ("key_file", path.with_suffix(".key"))]
    return list(dict.fromkeys(found))


def _collect(model: Any, found: list[tuple[str, Path]]) -> None:
    if isinstance(model, BaseModel):
        for name in _fields(model):
            value = getattr(model, name)
            if name in ("ca_file", "cert_file", "key_file") and value:
                found.append((name, Path(str(value))))
            else:
                _collect(value, found)
    elif isinstance(model, list | tuple):
        for item in model:
            _collect(item, found)


def certificates_valid(scene: Scene) -> list[Finding]:
    """Whether each certificate can be read, is valid for a while, and belongs to its key."""
    check = "certificate"
    chosen = certificates(scene)
    findings = []
    for number, (name, path) in enumerate(chosen):
        subject = str(path)
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            fix = f"make {path} readable for the gateway's user, or correct {name}"
            findings.append(fail(check, f"cannot be read: {error.strerror}", fix, subject))
            continue
        if name == "key_file":
            continue
        findings.append(_expiry(check, subject, text))
        after = chosen[number + 1] if number + 1 < len(chosen) else ("", Path())
        if name == "cert_file" and after[0] == "key_file":
            findings += _matches(check, path, after[1])
    return findings or [skip(check, "none is configured")]


def _expiry(check: str, subject: str, text: str) -> Finding:
    blocks = _BLOCK.findall(text)
    if not blocks:
        fix = "name a file of PEM certificates"
        return fail(check, "no certificate in it", fix, subject)
    ends = []
    for block in blocks[:_MOST_CERTIFICATES]:
        said = output("openssl", "x509", "-noout", "-enddate", text=block)
        if said is None:
            return skip(check, "openssl is not installed to read it", subject)
        if not said.startswith("notAfter="):
            return fail(check, "cannot be understood", "make or fetch the file again", subject)
        ends.append(ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter=")))
    left = min(ends) - time.time()
    day = time.strftime("%Y-%m-%d", time.gmtime(min(ends)))
    if left <= 0:
        return fail(check, f"expired on {day}", "renew it, then restart what uses it", subject)
    if left < _SOON:
        return warn(check, f"expires on {day}, in {left / _DAY:.0f} days", "renew it", subject)
    return ok(check, f"valid until {day}", subject)


def _matches(check: str, certificate: Path, key: Path) -> list[Finding]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Asked for a passphrase on the terminal, we would wait for ever.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        seen = f"does not go with {key}: {error.reason or error}"
        fix = "set cert_file and key_file to files that belong together, the key without passphrase"
        return [fail(check, seen, fix, str(certificate))]
    except OSError:
        return []  # the key cannot be read, which is said of it
    return []
