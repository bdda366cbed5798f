"""Takes secrets out of what leaves this machine: those that are known, and what looks like one."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.config import InvalidConfig
from gateway.config.privacy import is_secret
from gateway.config.source import Source, read
from gateway.config.substitute import substitution

MASK = "***"
_SHORT = 4  # characters; what is shorter is masked only where it stands alone
_USERINFO = re.compile(r"(://)[^\s/@\"']+(@)")
_HEADER = re.compile(r"(?i)\b((?:authorization|cookie|x-api-key)[\"']?\s*[:=]\s*).+")
_SCHEME = re.compile(r"\b(Bearer|Basic|Token)(\s+)[\w.~+/=-]{4,}")
_PAIR = re.compile(
    r"(?i)([\w.-]*(?:pass(?:word|wd|phrase)?|pwd|token|secret|credential|api_?key|private_?key)"
    r"[\w.-]*[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;}\]]+)"
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)")
_NOT_SECRET = re.compile(r"(?i)(none|null|true|false|\*+|\$\{.*)")


def source_of(path: Path | None, environment: Mapping[str, str]) -> Source | None:
    """The configuration as written, references put in; None where it is no YAML."""
    if path is None:
        return None
    try:
        return read(path, substitution(environment, path.parent))
    except InvalidConfig:
        return None


class Masking:
    """Masks `known` secrets, in any form they may be written in, and what looks like one."""

    def __init__(self, known: Iterable[str]) -> None:
        forms = {form for secret in known if secret.strip() for form in _forms(secret.strip())}
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(_pattern, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        text = _USERINFO.sub(rf"\1{MASK}\2", text)
        text = _HEADER.sub(rf"\1{MASK}", text)
        text = _SCHEME.sub(rf"\1\2{MASK}", text)
        return _PAIR.sub(_masked_pair, text)

    def data(self, data: Any, key: str = "") -> Any:
        """The same of data as JSON has it: a secret key's value goes whole."""
        if isinstance(data, dict):
            return {self.text(str(k)): self.data(v, str(k)) for k, v in data.items()}
        if isinstance(data, list | tuple):
            return [self.data(item, key) for item in data]
        if data is None or isinstance(data, bool):
            return data
        if is_secret(key) and isinstance(data, str | int | float):
            return MASK
        return self.text(data) if isinstance(data, str) else data


def _masked_pair(match: "re.Match[str]") -> str:
    return match[0] if _NOT_SECRET.fullmatch(match[2]) else match[1] + MASK


def _forms(secret: str) -> set[str]:
    lines = {line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORT}
    plain = {secret, *lines}
    return plain | {
        form
        for each in plain
        for form in (quote(each, safe=""), json.dumps(each)[1:-1], repr(each)[1:-1])
    }


def _pattern(secret: str) -> str:
    if len(secret) < _SHORT:
        return rf"(?<!\w){re.escape(secret)}(?!\w)"
    return re.escape(secret)


def known_secrets(
    source: Source | None,
    configured: Iterable[str],
    files: Iterable[Path],
    environment: Mapping[str, str],
) -> set[str]:
    """What was put in for references, what secret keys hold, and what secret files hold."""
    found = set(configured)
    if source is not None:
        found |= {private.text for private in source.private.values()}
        found |= _referenced(source, environment)
    for path in files:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        found |= _assigned(text) if path.suffix == ".env" else {text}
    return found | {value for name, value in environment.items() if is_secret(name)}


def _referenced(source: Source, environment: Mapping[str, str]) -> set[str]:
    """Values of the variables that the configuration names: also parts of longer texts."""
    names = _VARIABLE.findall("\n".join(source.lines))
    return {environment[name] for name in names if name in environment}


def _assigned(text: str) -> set[str]:
    """The values of an environment file."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {value.strip().strip("\"'") for name, _, value in pairs if not name.startswith("#")}
