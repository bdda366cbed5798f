"""Documentation is tested like code."""

import re
import subprocess
from pathlib import Path

import pytest

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


def test_topics_of_this_step_have_a_page() -> None:
    page = (PROJECT / "docs/mqtt.md").read_text()
    for word in ("data/", "state/", "meta/", "status/", "health/", "performance/", "dlq/"):
        assert word in page
