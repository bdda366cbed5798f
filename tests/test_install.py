"""The install script, its pinned requirements and the unit file.

What the script does as root is tested in a machine that boots, see tests/system.
"""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parent.parent
REQUIREMENTS = PROJECT / "requirements"
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\]+?))?(?= \\|$)")
FAKE_PYTHON = """#!/bin/sh
echo "$@" >>"{log}"
case $* in
*--editable*) printf '#!/bin/sh\\necho berrygate "$@"\\n' >"{venv}/bin/berrygate"
    chmod 755 "{venv}/bin/berrygate" ;;
esac
"""


# --- requirements ---------------------------------------------------------------------------


def pins(file: str) -> dict[str, set[str]]:
    """Name -> versions (for different Pythons). Every line is a pin, a hash or a comment."""
    found: dict[str, set[str]] = {}
    hashes = 1
    for line in (REQUIREMENTS / file).read_text().splitlines():
        if pin := PIN.match(line):
            assert hashes, f"{file}: nothing vouches for what comes before {line}"
            found.setdefault(pin["name"], set()).add(pin["version"])
            hashes = 0
        elif re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line):
            hashes += 1
        else:
            assert line.startswith("#"), f"{file}: {line}"
    assert hashes
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    """What pyproject.toml asks for, by file of pins."""
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    extras = wanted["project"]["optional-dependencies"].values()
    own = [line for extra in extras for line in extra if not line.startswith("berrygate[")]
    run = wanted["project"]["dependencies"] + own
    return {
        "run.txt": run,
        "test.txt": run + wanted["dependency-groups"]["dev"],
        "build.txt": wanted["build-system"]["requires"],
    }


@pytest.mark.parametrize("file", ["run.txt", "test.txt", "build.txt"])
def test_every_dependency_is_pinned_as_asked(file: str, project: dict[str, list[str]]) -> None:
    pinned = pins(file)
    for line in project[file]:
        wanted = Requirement(line)
        versions = pinned[canonicalize_name(wanted.name)]
        assert all(wanted.specifier.contains(version) for version in versions), line


def test_what_is_tested_is_what_runs() -> None:
    tested = pins("test.txt")
    assert {name: tested.get(name) for name in pins("run.txt")} == pins("run.txt")


# --- the script -----------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose virtual environment is there, but whose Python only notes its calls."""
    here = tmp_path / "checkout"
    venv = here / ".venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copytree(REQUIREMENTS, here / "requirements")
    for name in ("install.sh", "pyproject.toml"):
        shutil.copy2(PROJECT / name, here / name)
    python_for(here, "python3.11")
    (venv / "bin/pip").write_text(f"#!{venv}/bin/python\n")
    return here


def python_for(here: Path, name: str) -> None:
    """Put a Python of that name behind the virtual environment's."""
    fake = here.parent / name
    fake.write_text(FAKE_PYTHON.format(log=here.parent / "calls", venv=here / ".venv"))
    fake.chmod(0o755)
    link = here / ".venv/bin/python"
    link.unlink(missing_ok=True)
    link.symlink_to(fake)


def run(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a checkout; its `python3` only notes its calls."""
    tools = here.parent / "tools"
    if not tools.exists():
        tools.mkdir()
        (tools / "python3").symlink_to(here.parent / "python3.11")
        (tools / "mosquitto").symlink_to("/bin/true")  # not what these tests are about
    return subprocess.run(
        ["bash", here / "install.sh", *arguments],
        env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(here.parent)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def calls(here: Path) -> str:
    """What Python was called with since the last time."""
    log = here.parent / "calls"
    found = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return found


def test_run_sets_up_once(checkout: Path) -> None:
    first = run(checkout, "run", "-c", "my file.yaml")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "berrygate run -c my file.yaml\n"
    assert "setting up" in first.stderr
    assert "--require-hashes" in calls(checkout)
    again = run(checkout, "run", "-v")
    assert (again.stdout, again.stderr) == ("berrygate run -v\n", "")
    assert calls(checkout) == ""  # not even asked for its version


@pytest.mark.parametrize("file", ["pyproject.toml", "requirements/run.txt"])
def test_run_sets_up_again_when_a_file_changes(checkout: Path, file: str) -> None:
    run(checkout, "run")
    calls(checkout)
    with (checkout / file).open("a") as changed:
        changed.write("\n# changed\n")
    run(checkout, "run")
    assert "--require-hashes" in calls(checkout)
    assert run(checkout, "run").stderr == ""


def test_run_sets_up_again_for_another_python(checkout: Path) -> None:
    """An upgrade of Debian puts a new Python behind the same name, without our packages."""
    run(checkout, "run")
    calls(checkout)
    python_for(checkout, "python3.13")
    run(checkout, "run")
    assert "--require-hashes" in calls(checkout)


def test_a_moved_checkout_is_made_anew(checkout: Path) -> None:
    run(checkout, "run")
    calls(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    run(moved, "run")
    assert f"-m venv --clear {moved}/.venv" in calls(moved)


def test_what_was_not_finished_is_done_again(checkout: Path) -> None:
    run(checkout, "run")
    calls(checkout)
    (checkout / ".venv/made-of").unlink()
    run(checkout, "run")
    assert "--require-hashes" in calls(checkout)


def test_help_names_every_command(checkout: Path) -> None:
    helped = run(checkout, "help")
    assert helped.returncode == 0
    for command in ("run", "test", "service", "uninstall"):
        assert f"./install.sh {command}" in helped.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["runn"], 2, "no such command: runn"),
        (["uninstall", "--purgee"], 1, "fix: sudo ./install.sh uninstall"),
        (["service", "now"], 1, "fix: sudo ./install.sh service"),
    ],
)
def test_wrong_words_change_nothing(
    checkout: Path, arguments: list[str], code: int, words: str
) -> None:
    refused = run(checkout, *arguments)
    assert refused.returncode == code
    assert words in refused.stderr
    assert calls(checkout) == ""


@pytest.mark.parametrize("command", ["service", "uninstall"])
def test_root_is_asked_for(command: str) -> None:
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        options = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    with tempfile.TemporaryDirectory() as directory:  # pytest's are closed to other users
        Path(directory).chmod(0o755)
        shutil.copy2(PROJECT / "install.sh", directory)
        refused = subprocess.run(
            ["bash", Path(directory) / "install.sh", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options,
        )  # fmt: skip
    assert refused.returncode == 1, refused.stderr
    assert f"  fix: sudo ./install.sh {command}" in refused.stderr


@pytest.mark.parametrize("script", ["install.sh", ".ci/run", "requirements/compile"])
def test_scripts_can_be_run(script: str) -> None:
    assert os.access(PROJECT / script, os.X_OK)


# --- the unit -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    """The unit file."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(PROJECT / "systemd/berrygate.service")
    return parser


def test_unit_leaves_the_pins_to_us(unit: ConfigParser) -> None:
    """PrivateDevices hides serial ports, GPIO, I2C and SPI; a list of device classes would close
    those whose driver is loaded after the start, such as a USB adapter's (systemd.exec(5))."""
    assert "PrivateDevices" not in unit["Service"]
    assert unit["Service"]["DeviceAllow"] == "char-* rw"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_unit_leaves_little_open() -> None:
    """An exposure of at most 2.0; the threshold is in tenths."""
    found = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20",
         PROJECT / "systemd/berrygate.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout[-300:] + found.stderr


def test_unit_waits_for_no_network_and_never_gives_up(unit: ConfigParser) -> None:
    order = {key: value for key, value in unit["Unit"].items() if key in ("After", "Wants")}
    assert order == {"After": "network.target"}
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "always"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_unit_has_no_unknown_key() -> None:
    unit = PROJECT / "systemd/berrygate.service"
    found = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
