"""Maps in files: those that come with the gateway, and a user's own."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from gateway.core.settings import wrong

MAX_BYTES = 200_000
_MAX_DEPTH = 20
_MAX_NODES = 50_000  # aliases of aliases grow without end
_HERE = Path(__file__).resolve().parent
PLACES = (_HERE / "maps", _HERE.parents[2] / "config/modbus")
"""Where those are that come with the gateway: as installed, and in a checkout."""


def known() -> dict[str, Path]:
    """The maps that come with the gateway, by name."""
    return {path.stem: path for place in PLACES for path in sorted(place.glob("*.yaml"))}


def loaded(name: str, model: type[BaseModel]) -> BaseModel:
    """The map of that name, or in that file. Raises PydanticCustomError."""
    path = _path(name)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise wrong("", f"{path}: larger than {MAX_BYTES:,} bytes", "name a map")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise wrong("", f"{path}: not UTF-8", "save the file as UTF-8") from None
    except OSError as error:
        fix = "name a file that the gateway's user may read"
        raise wrong("", f"{path}: {error.strerror}", fix) from None
    return _validated(text, path, model)


def _path(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name).expanduser().absolute()
    maps = known()
    if name in maps:
        return maps[name]
    close = get_close_matches(name, maps, 1)
    fix = f"map: {close[0]}" if close else "name one of them, or the path of a file of your own"
    raise wrong("", f'no map "{name}" (known: {", ".join(maps)})', fix)


def _validated(text: str, path: Path, model: type[BaseModel]) -> BaseModel:
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = _Builder().data(node, 0)
    except yaml.YAMLError as error:
        raise _syntax(error, path) from None
    if node is None or not isinstance(data, dict):
        raise wrong("", f"{path}: not keys and values", "begin with registers:")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        more = error.error_count() - 1
    context = first.get("ctx", {})
    place = (*first["loc"], context["key"]) if context.get("key") else first["loc"]
    mark = _mark(node, place).start_mark
    dotted = ".".join(map(str, first["loc"]))
    message = str(context.get("message") or first["msg"])
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    message = f"{path}:{mark.line + 1}:{mark.column + 1}: {dotted}: {message}"
    if more:
        message += f", and {more} more"
    raise wrong("", message, str(context.get("fix") or "mend it there"))


def _syntax(error: Exception, path: Path) -> Exception:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    reason = getattr(error, "problem", None) or str(error)
    return wrong("", f"{where}: not YAML: {reason}", "mend it there")


class _Loader(yaml.SafeLoader):
    """Scalars by the core schema of YAML 1.2, as in the configuration: `on` and `no` are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )
_scalars = _Loader("")


class _Builder:
    """Plain data of nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def data(self, node: yaml.Node | None, depth: int) -> Any:
        """A node's data. Raises YAMLError."""
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise yaml.YAMLError("too large, or nested too deep")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.data(item, depth + 1) for item in node.value]
        return None if node is None else _scalars.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.value in found:
                problem = f'"{key.value}" is here twice'
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            found[str(key.value)] = self.data(value, depth + 1)
        return found


def _mark(node: yaml.Node, place: tuple[Any, ...]) -> yaml.Node:
    """What stands at a place, or the nearest thing around it; the key where that is unknown."""
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = {key.value: value for key, value in node.value}.get(str(step))
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = node.value[step] if step < len(node.value) else None
        else:
            found = None
        if found is None:
            return node
        node = found
    return node
