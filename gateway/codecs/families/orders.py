"""What is published so that a device does something, as its family wants it.

`{"value": true}` is a bare value in the family's own words (`ON`, `on`, `true`, or what was
announced), `{"value": 21.5}` a number, both inside of the template that was announced, if one was;
no arguments are an empty payload, others a JSON object.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.codecs.families.known import Known, Words
from gateway.codecs.families.templates import (
    NothingThereError,
    UnknownTemplateError,
    rendered,
    written,
)

_WORDS = {
    "Shelly": Words("on", "off"),
    "Homie": Words("true", "false"),
}
_MOST = Words("ON", "OFF")


def order(known: Known, device: str, name: str, args: Mapping[str, Any]) -> tuple[str, bytes]:
    """Topic and payload of a command for a device, by its original name. Raises LookupError where
    it has no such command, ValueError for arguments that cannot be written."""
    about = known.get(device)
    topic = about.commands.get(name) if about is not None else None
    if about is None or topic is None:
        there = ", ".join(sorted(about.commands)[:20]) if about is not None else ""
        raise LookupError(f'{device} has no command "{name}"; it has {there or "none"}')
    words = known.words_of(device, name) or _WORDS.get(about.family, _MOST)
    if not args:
        return topic, b""
    value = args.get("value")
    if args.keys() != {"value"} or value is None or isinstance(value, dict | list):
        return topic, _json(dict(args))
    said = (words.on if value else words.off) if isinstance(value, bool) else value
    form = known.form_of(device, name)
    if form:
        return topic, _formed(form, said).encode()
    return topic, _json({"state": written(said)}) if words.json else written(said).encode()


def _formed(form: str, value: object) -> str:
    """A value in the template that the device wants. Raises ValueError."""
    try:
        return rendered(form, value)
    except UnknownTemplateError as error:
        raise ValueError(
            f"the device wants its commands by a template that is not understood: {form[:200]}; "
            "give what it makes of the value as arguments of their own, which become a JSON object"
        ) from error
    except NothingThereError as error:
        raise ValueError(
            f'"{str(value)[:100]}" is nothing for the device\'s template {form[:200]}'
        ) from error


def _json(data: object) -> bytes:
    try:
        return msgspec.json.encode(data)
    except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"arguments that cannot be written as JSON: {error}") from error
