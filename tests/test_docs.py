"""Documentation is tested like code."""

import argparse
import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.main import parser
from gateway.config import load

PROJECT = Path(__file__).parent.parent
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
).stdout.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        waiting += [page.parent / target for target in targets]
    assert {page.resolve() for page in PAGES} <= seen


@pytest.mark.skipif(not TRACKED, reason="not a checkout")
def test_no_address_of_a_package_registry_and_no_path_of_one_machine() -> None:
    # Put together here, so that this file does not hold what it looks for.
    options = ("--(extra-)?index" + "-url", "--find" + "-links")
    hosts = ('"resolved": *"' + "http", "pypi" + r"\.org")
    address = re.compile("|".join((*options, *hosts)))
    path = re.compile(r"(^|[^A-Za-z0-9_.])/(work|farm|home/[a-z]+)/")
    for name in TRACKED:
        file = PROJECT / name
        if file.suffix in (".py", ".md", ".txt", ".toml", ".yaml", ".sh", "") and file.is_file():
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                assert not address.search(line), f"{name}:{number}"
                assert not path.search(line), f"{name}:{number}"


def published() -> Iterator[tuple[str, str, str]]:
    """(class, device, channel) of every topic the gateway publishes on; "" for what varies."""
    for file in sorted((PROJECT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("self", "self._topics"):
                kind, device, channel = (
                    str(arg.value) if isinstance(arg, ast.Constant) else "" for arg in node.args
                )
                yield kind, device, channel


def test_every_topic_has_its_place() -> None:
    page = (PROJECT / "docs/mqtt.md").read_text()
    described = re.findall(r"`berrygate/<gw>/(\w+)/([^/`]+)/([^/`]+)`", page)
    topics = set(published())
    assert len(topics) >= 9
    for topic in topics:
        assert any(
            all(not own or own == said for own, said in zip(topic, row, strict=True))
            for row in described
        ), topic


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, content) of every fenced block in that language; "" for those without one."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(page.name, block) for page in PAGES for block in fence.findall(page.read_text())]


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_every_configuration_shown_can_be_used(
    page: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"\$\{(\w+)\}", block):
        monkeypatch.setenv(name, "5ec4e7" * 6)
    path = tmp_path / "berrygate.yaml"
    path.write_text(block)
    load(path)


def test_every_command_shown_exists() -> None:
    commands = next(
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    script = (PROJECT / "install.sh").read_text()
    for page in PAGES:
        text = page.read_text()
        shown = re.findall(r"(?:^|[`$] ?|bin/)berrygate ([a-z]+)", text, re.MULTILINE)
        assert set(shown) <= set(commands.choices), page.name
        for command in re.findall(r"install\.sh ([a-z]+)", text):
            assert f"cmd_{command}()" in script, page.name


def test_changes_of_this_version_are_told() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\n## {version} " in (PROJECT / "CHANGELOG.md").read_text()


def test_first_screen_of_the_readme_has_the_commands() -> None:
    screen = (PROJECT / "README.md").read_text().splitlines()[:30]
    text = "\n".join(screen)
    for word in ("./install.sh run", "sudo ./install.sh service", "berrygate status"):
        assert word in text


@pytest.mark.parametrize(
    "page", sorted((PROJECT / "docs/decisions").glob("0*.md")), ids=lambda p: p.stem
)
def test_a_decision_fits_a_screen(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= 40
    for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
        assert part in text, part
    assert page.name in (page.parent / "index.md").read_text()
