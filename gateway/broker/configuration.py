"""mosquitto's configuration, as it is generated (see mosquitto.conf(5)).

The settings follow what was measured of mosquitto 2.0: the defaults drop silently and cap an
acknowledge-after-commit client at 20 messages in flight.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """host, port: where it listens, loopback only. queue: most messages, and queue_bytes most
    bytes, kept for one client that is away. window: most messages in flight to one client.
    autosave: how often it writes all it holds down (s); each time wears a card by some 100 kB."""

    host: str = "127.0.0.1"
    port: int = 1883
    queue: int = 1_000_000
    queue_bytes: int = 256_000_000
    window: int = 5_000
    autosave: int = 60


def mosquitto_conf(options: BrokerOptions, directory: Path, lan: str) -> str:
    """The whole file. lan: the lines of listeners for the network; what stands before them is
    true of all listeners, or of the loopback one."""
    return f"""\
# Written by berrygate at every start; changes are lost.
per_listener_settings true
user {_user()}
persistence true
persistence_location {directory}/
autosave_interval {options.autosave}
persistent_client_expiration 7d
max_inflight_messages {options.window}
max_inflight_bytes 32000000
max_queued_messages {options.queue}
max_queued_bytes {options.queue_bytes}
queue_qos0_messages true
set_tcp_nodelay true
sys_interval 10
log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
listener {options.port} {options.host}
allow_anonymous true
{lan}"""


def _user() -> str:
    """Who we are, by our process and not by $USER: started as root, mosquitto becomes whom its
    configuration names. Where a number has no name it is not root, and the name is not used."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
