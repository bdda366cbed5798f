"""What the keys of a model are for: the text under each of its fields, read from the source when
somebody asks. pydantic would read it for every model at every start (`use_attribute_docstrings`),
which was a tenth of the start's processor time.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

_Place = tuple[str, str]  # a class by its qualified name, a field


def description(model: type[BaseModel], name: str) -> str:
    """The text of a field; "" where there is none."""
    if own := model.model_fields[name].description:
        return own
    for base in model.__mro__:
        # As with pydantic: who declares a field again describes it again.
        if name in inspect.get_annotations(base):
            return _texts(base.__module__).get((base.__qualname__, name), "")
    return ""


def describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put the texts into a model's JSON schema (pydantic's `json_schema_extra`)."""
    for name, field in model.model_fields.items():
        shown = schema.get("properties", {}).get(field.alias or name)
        if shown is not None and (text := description(model, name)):
            shown["description"] = text


@cache
def _texts(module: str) -> Mapping[_Place, str]:
    return dict(_found(ast.parse(inspect.getsource(sys.modules[module])), ""))


def _found(node: ast.AST, above: str) -> Iterator[tuple[_Place, str]]:
    """Texts of classes in `node`; above: its qualified name with a dot."""
    body: list[ast.stmt] = getattr(node, "body", [])
    for each in body:
        if isinstance(each, ast.ClassDef):
            yield from _fields(each, f"{above}{each.name}")
            yield from _found(each, f"{above}{each.name}.")
        elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _found(each, f"{above}{each.name}.<locals>.")


def _fields(model: ast.ClassDef, qualified: str) -> Iterator[tuple[_Place, str]]:
    for field, after in pairwise(model.body):
        match field:
            case ast.AnnAssign(target=ast.Name(id=name)) if text := _text(after):
                yield (qualified, name), text


def _text(statement: ast.stmt) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return ""
