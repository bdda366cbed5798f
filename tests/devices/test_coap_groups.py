"""Found by multicast, and finding others: two hosts on a cable of their own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from devices.coap import CoapSettings
from tests.support import coap
from tests.support.gateway import Gateway, gateway
from tests.support.link import Host, link
from tests.support.ports import free_port


@contextmanager
def house(directory: Path, here: Host) -> Iterator[Gateway]:
    """A gateway on one of the hosts."""
    device = {"type": "coap", "host": "::", "multicast": [here.interface], "look": "10s"}
    running = Gateway(directory, devices=[device])
    running.prefix = here.enter
    running.start(ready=False)
    try:
        running.wait(lambda: listens(running))
        yield running
    finally:
        running.kill()


def status(running: Gateway) -> dict[str, Any]:
    """What it says of itself; its API can be reached from its own host only."""
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "status", "--json", "-c", str(running.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return json.loads(said.stdout) if said.stdout else {}


def source(running: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = status(running)["sources"][0]
    return found


def found(running: Gateway) -> dict[str, Any]:
    servers: dict[str, Any] = source(running)["found"]
    return servers


def listens(running: Gateway) -> bool:
    return bool(status(running)) and source(running)["state"] == "running"


def ask_all(there: Host, *questions: list[str]) -> list[str]:
    """What libcoap's client hears from a group within a while, for each of them."""
    asking = [
        subprocess.Popen(
            [*there.enter, coap.program("coap-client"), "-N", "-B", "6", *question],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for question in questions
    ]  # fmt: skip
    return [client.communicate(timeout=30)[0] for client in asking]


@pytest.mark.timeout(120)
def test_it_is_found_and_finds_others(tmp_path: Path) -> None:
    with (
        link() as (here, there),
        coap.libcoap_server(5683, tmp_path / "server.log", there),
        house(tmp_path, here) as running,
    ):
        running.wait(lambda: bool(found(running)))
        servers = found(running)
    for address, server in servers.items():
        assert here.address not in address  # itself
        assert f"%{here.interface}]" in address or address == f"coap://{there.address}"
        assert {"/", "/time"} <= set(server["resources"])


@pytest.mark.timeout(120)
def test_a_group_is_told_what_there_is_and_nothing_else(tmp_path: Path) -> None:
    """Everybody would send an error, and everybody would store a reading."""
    with link() as (here, there), house(tmp_path, here) as running:
        six, four = f"coap://[ff02::fd%{there.interface}]", "coap://224.0.1.187"
        first, second, stored, read, filtered = ask_all(
            there,
            [f"{six}/.well-known/core"],
            [f"{four}/.well-known/core"],
            ["-m", "post", "-e", '{"n": 1}', f"{six}/telemetry/soil-4"],
            ["-m", "get", f"{six}/telemetry/soil-4"],
            [f"{six}/.well-known/core?rt=nothing"],
        )
        assert "</telemetry>" in first
        assert "</health>" in second
        assert (stored + read + filtered).strip() == ""
        assert source(running)["received"] == 0
        alone = [*there.enter, coap.program("coap-client"), "-m", "post", "-t", "50", "-e"]
        unicast = f"coap://{here.address}/telemetry/soil-4"
        subprocess.run([*alone, '{"n": 1}', unicast], check=True, capture_output=True)
        running.wait(lambda: source(running)["received"] == 1)


@pytest.mark.timeout(60)
def test_an_interface_that_is_not_there_is_told_and_waited_for(tmp_path: Path) -> None:
    with gateway(
        tmp_path,
        broker={"port": free_port()},
        devices=[{"type": "coap", "host": "::", "port": free_port(), "multicast": ["nowhere0"]}],
    ) as running:
        running.wait(lambda: "there is no interface nowhere0" in str(source(running)["last_error"]))


def test_multicast_wants_every_address() -> None:
    with pytest.raises(ValidationError, match="multicast does not come to one address"):
        CoapSettings(multicast=("eth0",))
