"""The part of Sparkplug B's payload that readings are in (Sparkplug 3.0.0, section 6.4).

The messages are described here to the protobuf library, which then parses in C and keeps what is
not described aside: no generated file, and no reader of our own for a format with many corners.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as ParseError

from gateway.core.errors import DecodeError

_TYPES = {
    "double": 1, "float": 2, "uint64": 4, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3
_PACKAGE = "berrygate.sparkplug"
_VALUE = "value"
"""Name of the group of fields of which one is there."""

# name of a field -> number, type; `*` repeated, `?` may be there or not, `|` one of the value's
_MESSAGES = {
    "Payload": {"timestamp": (1, "uint64"), "metrics": (2, "*Metric"), "seq": (3, "?uint64")},
    "Metric": {
        "name": (1, "string"), "alias": (2, "?uint64"), "timestamp": (3, "uint64"),
        "datatype": (4, "uint32"), "is_historical": (5, "bool"), "is_null": (7, "bool"),
        "properties": (9, "PropertySet"), "int_value": (10, "|uint32"),
        "long_value": (11, "|uint64"), "float_value": (12, "|float"),
        "double_value": (13, "|double"), "boolean_value": (14, "|bool"),
        "string_value": (15, "|string"), "bytes_value": (16, "|bytes"),
        "dataset_value": (17, "|bytes"), "template_value": (18, "|Template"),
        "extension_value": (19, "|bytes"),
    },
    "Template": {
        "metrics": (2, "*Metric"), "template_ref": (4, "string"), "is_definition": (5, "bool"),
    },
    "PropertySet": {"keys": (1, "*string"), "values": (2, "*PropertyValue")},
    "PropertyValue": {"string_value": (8, "string")},
}  # fmt: skip


def _described() -> dict[str, type[Any]]:
    file = descriptor_pb2.FileDescriptorProto(
        # On the wire both are the same; with proto3 text that is not UTF-8 does not get in.
        name="berrygate/sparkplug.proto",
        package=_PACKAGE,
        syntax="proto3",
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(kind.startswith("|") for _, kind in fields.values()):
            message.oneof_decl.add(name=_VALUE)
        for field, (number, kind) in fields.items():
            label = _REPEATED if kind.startswith("*") else _OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            word = kind.lstrip("*?|")
            added.type = _TYPES.get(word, _MESSAGE)
            if word not in _TYPES:
                added.type_name = f".{_PACKAGE}.{word}"
            if kind.startswith("|"):
                added.oneof_index = 0
            if kind.startswith("?"):
                added.proto3_optional, added.oneof_index = True, len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


Payload = _described()["Payload"]
"""The message class; also for making payloads."""


def parse(payload: bytes) -> Any:
    """A Payload. Raises DecodeError with reason malformed."""
    try:
        return Payload.FromString(payload)
    except (ParseError, UnicodeDecodeError) as error:
        raise DecodeError(f"not Sparkplug B: {error}") from error
