"""The service, installed by the script in a machine that boots (a container with systemd)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
PACKAGES = (
    "systemd,systemd-sysv,dbus,python3,python3-venv,mosquitto,mosquitto-clients,procps,iproute2"
)
CACHE = Path(os.environ.get("BERRYGATE_TEST_CACHE", "/var/cache/berrygate-tests"))
CHECKS = 24

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="booting a machine needs root"),
]


def codename() -> str:
    """This machine's Debian release: the machine that boots is of the same."""
    lines = Path("/etc/os-release").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields["VERSION_CODENAME"].strip('"')


def base_machine() -> Path:
    """A minimal Debian, made once and kept."""
    root = CACHE / f"{codename()}-{abs(hash_of(PACKAGES)):08x}"
    if not (root / "etc").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = root.with_name(f"{root.name}.{os.getpid()}")
        subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", codename(), making],
            check=True, timeout=600,
        )  # fmt: skip
        making.rename(root)
    return root


def hash_of(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


def wheels(directory: Path) -> None:
    """Everything the service needs, for a machine without a network."""
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes",
            "--only-binary=:all:", "--dest", directory, "-r", PROJECT / "requirements/run.txt",
            "-r", PROJECT / "requirements/build.txt",
        ],
        check=True, timeout=600,
    )  # fmt: skip


def checkout(directory: Path) -> None:
    """What a user would have cloned."""
    for name in ("gateway", "devices", "bridges", "config", "systemd", "requirements"):
        shutil.copytree(
            PROJECT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "install.sh"):
        shutil.copy2(PROJECT / name, directory / name)


def test_service_in_a_booted_machine(tmp_path: Path) -> None:
    root, out, wheelhouse, source = (tmp_path / name for name in ("root", "out", "wheels", "src"))
    out.mkdir()
    source.mkdir()
    wheels(wheelhouse)
    checkout(source)
    subprocess.run(["cp", "-a", "--reflink=auto", base_machine(), root], check=True)
    shutil.copy(HERE / "check.sh", root / "check.sh")
    shutil.copy(HERE / "check.service", root / "etc/systemd/system/check.service")
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    (wanted / "check.service").symlink_to("/etc/systemd/system/check.service")
    # Debian's own broker holds port 1883 from the first boot on; a user's machine may have it off.
    (wanted / "mosquitto.service").unlink(missing_ok=True)
    console = subprocess.run(
        [
            "systemd-nspawn", "--quiet", "-D", root, "--boot", "--register=no", "--keep-unit",
            "--private-network", f"--bind-ro={source}:/src", f"--bind-ro={wheelhouse}:/wheels",
            f"--bind={out}:/out", "--console=pipe",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    results = out / "results"
    assert results.exists(), console.stdout.decode(errors="replace")[-3000:]
    lines = results.read_text().splitlines()
    journal = out / "journal"
    told = (out / "log").read_text()[-6000:] + (journal.read_text() if journal.exists() else "")
    assert [line for line in lines if not line.startswith("ok ")] == [], told
    assert lines[-1] == "ok done", told
    assert len(lines) == CHECKS, lines
    shutil.rmtree(root, ignore_errors=True)
