"""A real mosquitto in a directory of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import end, free_port, wait_for_port

BINARY = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "mosquitto"


class Mosquitto:
    """A broker that can be stopped, killed and started again on the same port."""

    def __init__(self, directory: Path, extra: str = "", port: int | None = None) -> None:
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "mosquitto.conf"
        listener = "" if "listener" in extra else f"listener {self.port} 127.0.0.1\n"
        self._config.write_text(
            f"{listener}{'' if 'allow_anonymous' in extra else 'allow_anonymous true'}\n"
            "user root\npersistence true\n"
            f"persistence_location {directory}/\nautosave_interval 60\n"
            f"{'' if 'inflight' in extra else 'max_inflight_messages 20000'}\n"
            "max_queued_messages 1000000\n"
            f"queue_qos0_messages true\nset_tcp_nodelay true\nlog_type error\n{extra}\n"
        )

    def start(self) -> "Mosquitto":
        """Start and wait until it answers."""
        self.process = subprocess.Popen(
            [BINARY, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port, self.process)
        return self

    def stop(self) -> None:
        """SIGTERM: it writes its sessions and queues down."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def mosquitto(directory: Path, extra: str = "") -> Iterator[Mosquitto]:
    """A running broker."""
    broker = Mosquitto(directory, extra).start()
    try:
        yield broker
    finally:
        broker.stop()
