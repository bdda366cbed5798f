"""Words of a configuration file: which are numbers, and how references get through YAML."""

import re
from typing import Any

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_LONGEST_NUMBER = 40  # characters; Python refuses to read a number of thousands of digits
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def plain(text: str) -> Any:
    """A scalar without quotes, by the core schema of YAML 1.2.2."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def is_ambiguous(text: str) -> bool:
    """Whether it is a number to some and another number to others, as `017` is."""
    return _LEADING_ZERO.fullmatch(text) is not None


# `{token: ${TOKEN}}` is not YAML: a brace ends what is not in quotes. Until it is read, each of
# these characters inside of a reference stands as another one, of the same width.
_MEANT, _STAND_INS = "{},[]", "\uf8d0\uf8d1\uf8d2\uf8d3\uf8d4"
_REFERENCE = re.compile(r"(?<=\$)\{[^{}\n\"']*\}")
_HIDDEN = re.compile(r"(?<=\$)\uf8d0[^\uf8d0\uf8d1]*\uf8d1")
_HIDE, _SHOW = str.maketrans(_MEANT, _STAND_INS), str.maketrans(_STAND_INS, _MEANT)


def hide_references(text: str) -> str:
    """YAML in which references may stand without quotes; nothing moves."""
    return _REFERENCE.sub(lambda match: match[0].translate(_HIDE), text)


def show_references(text: str) -> str:
    """A scalar of such YAML as it was written."""
    return _HIDDEN.sub(lambda match: match[0].translate(_SHOW), text)
