"""Makes docs/what-can-be-lost.md: what is promised, and what the last runs of the tests saw.

`python -m tests.faults.page [DIRECTORY]` writes the page from the outcomes in DIRECTORY
(tests/faults/outcomes). What is promised stands in tests/faults/promises.md and is written by
hand. Of a new test, its name, as a sentence, is what the page says of it; nothing else is needed.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUTCOMES = HERE / "outcomes"
PAGE = HERE.parent.parent / "docs" / "what-can-be-lost.md"
COMMAND = "python -m tests.faults.page"
NOT_RUN = "### Not run yet"


def cases() -> Iterator[str]:
    """Every test of this directory that tells an outcome, as `file.py::function`."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if function and node.name.startswith("test_") and _tells(node):
                yield f"{path.name}::{node.name}"


def _tells(node: ast.AST) -> bool:
    called = (n.func for n in ast.walk(node) if isinstance(n, ast.Call))
    return any(isinstance(name, ast.Name) and name.id == "outcome" for name in called)


def outcomes(directory: Path) -> dict[str, dict[str, Any]]:
    """What was seen, by case; see tests.support.faults.outcome."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def page(directory: Path) -> str:
    """The whole page."""
    seen = outcomes(directory)
    lines = [(HERE / "promises.md").read_text().rstrip(), "", "## What the tests saw", ""]
    lines += [
        "Each line is a test of `tests/faults`, with real brokers, servers, disks and kills. The",
        "figures are those of its last run that was kept; a seed repeats that run",
        "(`BERRYGATE_FULL=1 BERRYGATE_SEED=… ./install.sh test -k …`).",
    ]
    waiting, file = [], ""
    for case in cases():
        found = [_line(name, told) for name, told in seen.items() if told["test"] == case]
        if not found:
            waiting.append(f"- {_words(case.split('::')[1])} (`{case.split('::')[0]}`)")
            continue
        if case.split("::")[0] != file:
            file = case.split("::")[0]
            lines += ["", f"### {_words(file.removesuffix('.py'))}", ""]
        lines += [f"- {_words(case.split('::')[1])}:", *found]
    if waiting:
        lines += ["", NOT_RUN, "", *waiting]
    return "\n".join(lines) + "\n"


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ").capitalize()


def _line(name: str, told: dict[str, Any]) -> str:
    figures = ", ".join(f"{_plain(key)} {_short(value)}" for key, value in told["figures"].items())
    seed = f", seed {told['seed']}" if told["seed"] is not None else ""
    return f"  - **{_plain(name)}**: {figures} ({told['form']} form{seed})"


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) and value < 1_000 else f"{value:,}"


def _plain(key: str) -> str:
    return key.replace("_", " ")


def main() -> None:
    """Write the page."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTCOMES
    PAGE.write_text(page(directory))


if __name__ == "__main__":
    main()
