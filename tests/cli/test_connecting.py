"""Finding the gateway, and what is said where that fails."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Command, environment, run
from tests.support.small_house import SmallHouse, open_directory, standing

Berrygate = Callable[..., Command]


def test_no_gateway(config: Path, berrygate: Berrygate) -> None:
    for command in (["status"], ["devices"], ["bridges"], ["tail"], ["query", "a", "b"]):
        done = berrygate(*command)
        assert done.code == 3
        assert f"no gateway is running (looked at {config.parent}/data/control.sock)" in done.err
        assert " fix: berrygate run" in done.err


def test_a_killed_gateway(config: Path, berrygate: Berrygate) -> None:
    left = config.parent / "data" / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    assert berrygate("status").code == 3


@pytest.mark.usefixtures("up")
def test_named_on_the_command_line(config: Path) -> None:
    assert run("status", "-c", str(config)).code == 0
    assert run("status", "--config", str(config)).code == 0


def test_the_configuration_named_cannot_be_read(tmp_path: Path) -> None:
    done = run("status", "-c", str(tmp_path / "nothing.yaml"))
    assert done.code == 2
    assert "nothing.yaml" in done.err


@pytest.mark.usefixtures("up")
def test_a_client_needs_no_secrets_and_no_valid_rest(config: Path, berrygate: Berrygate) -> None:
    config.write_text(
        config.read_text()
        + "bridges: [{type: influxdb, token: '${NOT_SET_HERE}', flavour: vanilla}]\n"
    )
    assert berrygate("check").code == 2
    assert berrygate("status").code == 0


def test_the_default_data_directory(house: SmallHouse, tmp_path: Path) -> None:
    (tmp_path / "berrygate").mkdir()
    empty = tmp_path / "berrygate.yaml"
    empty.write_text("journal: {gather: 1s}\n")
    with standing(house, tmp_path / "berrygate"):
        done = run("status", "-c", str(empty), XDG_STATE_HOME=str(tmp_path), STATE_DIRECTORY="")
    assert done.code == 0, done.err


def test_the_services_run_time_directory(house: SmallHouse, tmp_path: Path) -> None:
    """A user does not know the service's $STATE_DIRECTORY."""
    empty = tmp_path / "berrygate.yaml"
    empty.write_text("journal: {gather: 1s}\n")
    with standing(house, tmp_path):
        done = run("status", "-c", str(empty), RUNTIME_DIRECTORY=str(tmp_path), HOME="/nonexistent")
    assert done.code == 0, done.err


@pytest.mark.parametrize("said", [b"", b'{"err'])
def test_a_gateway_that_dies_while_asked(config: Path, berrygate: Berrygate, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(config.parent / "data" / "control.sock"))
        listener.listen()

        def dies() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(said)

        thread = threading.Thread(target=dies)
        thread.start()
        done = berrygate("status")
        thread.join(20)
    assert done.code == 3
    assert done.err == "error: the gateway hung up\n"


def test_a_refusal_before_the_question_is_still_read() -> None:
    """SIGPIPE ends us quietly where `head` has seen enough; it must not where the gateway has."""
    code = (
        "import signal, socket\n"
        "from gateway.cli import client\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "ours, theirs = socket.socketpair()\n"
        "theirs.sendall(b'no')\n"
        "theirs.close()\n"
        "client._send(ours, 'status', {})\n"
        "print(ours.recv(10))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "b'no'\n"), done.stderr


# Loads everything before it becomes somebody who may not read this checkout.
AS_NOBODY = """
import os, pwd, sys
import gateway.config.source, gateway.config.substitute, encodings.utf_8_sig
from gateway.cli import main
os.setgroups([])
os.setgid(65534)
os.setuid(pwd.getpwnam("nobody").pw_uid)
sys.exit(main(["status"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o660, 0o666])
def test_somebody_else_is_told_how_to_get_in(house: SmallHouse, mode: int) -> None:
    """0660: the file's mode refuses. 0666: the gateway does."""
    with open_directory() as directory, standing(house, directory):
        config = directory / "berrygate.yaml"
        config.write_text(f"gateway: {{data_dir: {directory}}}")
        config.chmod(0o644)
        (directory / "control.sock").chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY],
            env=environment(BERRYGATE_CONFIG=str(config)),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    assert done.returncode == 3
    assert "you may not" in done.stderr
    assert " fix: " in done.stderr
