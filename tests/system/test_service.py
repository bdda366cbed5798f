"""The service, installed by the script in a machine that boots (a container with systemd).

The machine has no network: Debian packages come from a repository on its disk, Python packages
from a directory, and both were fetched beforehand from where this machine gets its own.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "procps", "iproute2")
TO_INSTALL = ("python3-venv", "mosquitto", "mosquitto-clients")  # in there, by the script
CACHE = Path(os.environ.get("BERRYGATE_TEST_CACHE", "/var/cache/berrygate-tests"))
DAY = 86_400.0
FETCH = """
mkdir -p "$1/debs/partial"
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q --yes --no-install-recommends --download-only \
    -o Dir::Cache::Archives="$1/debs" install """

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="booting needs root: sudo ./install.sh test tests/system"
    ),
]


def codename() -> str:
    """This machine's Debian release: the machine that boots is of the same."""
    lines = Path("/etc/os-release").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields["VERSION_CODENAME"].strip('"')


def package_sources(release: str) -> list[Path]:
    """The files that say where this machine has its Debian packages from."""
    found = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    named = re.compile(rf"^[^#\n]*\s{release}(\s|$)", re.MULTILINE)
    return [path for path in found if path.is_file() and named.search(path.read_text())]


def base_machine() -> Path:
    """A minimal Debian with a repository of what is to be installed; made once and kept."""
    release = codename()
    key = hashlib.sha256(" ".join((*PACKAGES, "+", *TO_INSTALL)).encode()).hexdigest()[:8]
    root = CACHE / f"{release}-{key}"
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = root.with_name(f"{root.name}.{os.getpid()}")
        subprocess.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                f"--customize-hook={FETCH}{' '.join(TO_INSTALL)}",
                release, making, *package_sources(release),
            ],
            check=True, timeout=600,
        )  # fmt: skip
        as_repository(making / "debs")
        making.rename(root)
    os.utime(root)
    prune(CACHE, keep=root)
    return root


def prune(cache: Path, keep: Path) -> None:
    """Remove machines that no run has used for two weeks, and what runs that were interrupted left
    half-made; another run may be making one just now."""
    for entry in cache.iterdir():
        half_made = entry.suffix[1:].isdigit()
        unused = time.time() - entry.stat().st_mtime
        if entry != keep and unused > (DAY if half_made else 14 * DAY):
            shutil.rmtree(entry, ignore_errors=True)


def as_repository(directory: Path) -> None:
    """Make a flat repository of a directory of .deb files (deb(5), apt-ftparchive(1))."""
    entries = []
    for deb in sorted(directory.glob("*.deb")):
        fields = subprocess.run(
            ["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True
        ).stdout
        content = deb.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        place = f"Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {checksum}\n"
        entries.append(fields + place)
    (directory / "Packages").write_text("\n".join(entries))


def wheels(directory: Path, root: Path) -> None:
    """Everything the service needs, for that machine's Python."""
    asked = ["chroot", root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    directory.mkdir()
    wanted = directory / "wanted.txt"
    wanted.write_text("".join(pins("run.txt", version)) + "".join(pins("build.txt", version)))
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps",
            "--only-binary=:all:", "--python-version", version, "--dest", directory, "-r", wanted,
        ],
        check=True, timeout=600,
    )  # fmt: skip


def pins(file: str, version: str) -> Iterator[str]:
    """The pins for that Python. pip itself would go by the Python that it runs on."""
    target = {"python_version": version, "python_full_version": f"{version}.0"}
    text = (PROJECT / "requirements" / file).read_text()
    for pin in re.findall(r"^[^#\s](?:.*\\\n)*.*\n", text, re.MULTILINE):
        found = re.match(r"\S+( ; ([^\\\n]+))", pin)
        if found is None:
            yield pin
        elif Marker(found[2].strip()).evaluate(target):
            yield pin.replace(found[1], " ", 1)


def checkout(directory: Path) -> None:
    """What a user would have cloned."""
    directory.mkdir()
    for name in ("gateway", "devices", "bridges", "config", "systemd", "requirements"):
        shutil.copytree(
            PROJECT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "install.sh"):
        shutil.copy2(PROJECT / name, directory / name)


def furnish(root: Path) -> None:
    """A copy of the machine, with its checks to run at boot."""
    subprocess.run(["cp", "-a", "--reflink=auto", base_machine(), root], check=True)
    sources = root / "etc/apt"
    shutil.rmtree(sources / "sources.list.d", ignore_errors=True)
    (sources / "sources.list").write_text("deb [trusted=yes] file:/debs ./\n")
    for name in ("check.sh", "pty.py", "devices.py", "publish.py"):
        shutil.copy(HERE / name, root / name)
    shutil.copy(PROJECT / "tests/support/publisher.py", root / "publisher.py")
    shutil.copy(HERE / "check.service", root / "etc/systemd/system/check.service")
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    (wanted / "check.service").symlink_to("/etc/systemd/system/check.service")


def boot(root: Path, *options: str) -> str:
    """Boot until it powers itself off; what its console showed."""
    console = subprocess.run(
        [
            "systemd-nspawn", "--quiet", "-D", root, "--boot", "--register=no", "--keep-unit",
            "--private-network", "--console=pipe", *options,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=1500, check=False,
    )  # fmt: skip
    return console.stdout.decode(errors="replace") + console.stderr.decode(errors="replace")


def test_the_cache_does_not_grow_for_ever(tmp_path: Path) -> None:
    ages = {"bookworm-now": 0, "bookworm-old": 15, "trixie-other": 13, "x.123": 2, "x.124": 0}
    for name, days in ages.items():
        (tmp_path / name / "usr").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - days * DAY,) * 2)
    prune(tmp_path, keep=tmp_path / "bookworm-now")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"bookworm-now", "trixie-other", "x.124"}


def test_service_in_a_booted_machine(tmp_path: Path) -> None:
    root, out, wheelhouse, source = (tmp_path / name for name in ("root", "out", "wheels", "src"))
    out.mkdir()
    checkout(source)
    try:
        furnish(root)
        wheels(wheelhouse, root)
        binds = (
            f"--bind-ro={source}:/src",
            f"--bind-ro={wheelhouse}:/wheels",
            f"--bind={out}:/out",
        )
        console = boot(root, *binds)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    results = out / "results"
    assert results.exists(), console[-3000:]
    lines = results.read_text().splitlines()
    journal = out / "journal"
    told = (out / "log").read_text()[-8000:] + (journal.read_text() if journal.exists() else "")
    assert [line for line in lines if not line.startswith("ok ")] == [], told
    assert lines[-1] == "ok done", told
    checks = re.findall(r"^check (\S+)", (HERE / "check.sh").read_text(), re.MULTILINE)
    assert lines == [f"ok {name}" for name in (*checks, "done")]
