"""No password and no token of the configuration in anything that the gateway says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from gateway import registry
from gateway.config.models import Config
from gateway.config.privacy import is_secret
from gateway.config.secrets import secrets
from gateway.config.source import Source
from gateway.core.errors import Unavailable
from gateway.core.secrecy import conceal, concealed, concealed_line
from gateway.core.settings import Secret
from tests.support.echo import echoing
from tests.support.faults import outcome
from tests.support.gateway import Gateway
from tests.support.ports import free_port
from tests.support.publisher import Publisher
from tests.support.scripted import scripted

CANARY = "c4n4ry"
"""Part of every secret here."""
REFUSED = b"\x20\x03\x00\x87\x00"
"""CONNACK of MQTT 5.0: not authorized."""


def models() -> Iterator[type[BaseModel]]:
    """Every settings model there is, with what it holds."""
    groups = (registry.DEVICES, registry.BRIDGES, registry.CODECS)
    found = [Config, *(registry.resolve(g, name) for g in groups for name in registry.known(g))]
    seen: set[type[BaseModel]] = set()
    while found:
        model = found.pop()
        if model not in seen:
            seen.add(model)
            yield model
            for field in model.model_fields.values():
                found += [kind for kind in kinds(field.annotation) if issubclass(kind, BaseModel)]


def kinds(annotation: Any) -> Iterator[type]:
    """The classes in an annotation."""
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from kinds(argument)


def secret_fields() -> list[tuple[type[BaseModel], str]]:
    """Each key that holds a secret."""
    return [
        (model, name)
        for model in models()
        for name, field in model.model_fields.items()
        if Secret in kinds(field.annotation)
    ]


def test_what_is_called_a_secret_is_one() -> None:
    """A key that is named so and is plain text would be printed."""
    plain = [
        f"{model.__name__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if is_secret(name) and {str, Secret} & set(kinds(field.annotation)) == {str}
    ]
    assert plain == []


@pytest.mark.parametrize(("model", "name"), secret_fields(), ids=str)
def test_every_secret_key_is_hidden(model: type[BaseModel], name: str) -> None:
    secret = f"{CANARY}-{model.__name__}/{name} ä&"
    settings = model.model_construct(**{name: Secret(secret)})
    shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
    conceal(secrets(settings, Source()))
    shown += [str(Unavailable(f"401: token {secret!r}")), concealed(json.dumps({"it": secret}))]
    assert [text for text in shown if CANARY in text] == []


def test_forms_that_others_make_of_a_secret() -> None:
    conceal(["f0rm-s&cret", "abc", "xy"])
    assert concealed("f0rm-s&cret, f0rm-s%26cret") == "***, ***"
    assert concealed("abc abcd, abc.") == "*** abcd, ***."
    assert concealed("xy") == "xy"  # too short to be found
    line = concealed_line(
        "GET http://me:p4ss@host/x?token=t0ken&db=1 Authorization: Bearer abcdef012 "
        "{'Cookie': 'session=1'} x-api-key=12345"
    )
    for word in ("p4ss", "t0ken", "abcdef012", "session", "12345"):
        assert word not in line
    assert "http://me:***@host/x?token=***&db=1" in line


def config(echo: str, refusing: int) -> dict[str, Any]:
    """Everything that can be asked to send a secret, and is refused."""
    sink = {"type": "influxdb", "org": "o", "bucket": "b", "retry": {"base": "50ms", "max": "1s"}}
    one = {"type": "influxdb", "version": "1", "database": "d", "username": "me"}
    nobody = free_port()
    return {
        "broker": {"port": free_port()},
        "devices": [
            {"type": "mqtt"},
            {"type": "mqtt", "id": "a", "url": f"mqtt://127.0.0.1:{refusing}", "username": "me",
             "password": f"{CANARY}-device"},
            {"type": "mqtt", "id": "b", "url": f"mqtt://me:{CANARY}-in-url@127.0.0.1:{refusing}"},
            {"type": "mqtt", "id": "c", "url": f"mqtts://me:{CANARY}-tls@127.0.0.1:{refusing}"},
        ],
        "bridges": [
            {**sink, "name": "denied", "url": f"{echo}/401", "token": f"{CANARY}-token"},
            {**sink, "name": "failing", "url": f"{echo}/500", "token": f"{CANARY}-tok&en/2"},
            {**sink, "name": "rejecting", "url": f"{echo}/400", "token": "${CANARY_TOKEN}"},
            {**sink, "name": "away", "url": f"http://me:{CANARY}-away@127.0.0.1:{nobody}",
             "token": f"{CANARY}-nobody"},
            {**sink, "name": "tls", "url": f"https://{echo[7:]}", "token": f"{CANARY}-plain"},
            {**one, "name": "one", "url": f"{echo}/401", "password": f"{CANARY}-one"},
        ],
    }  # fmt: skip


def test_no_secret_in_what_a_running_gateway_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_TOKEN", f"{CANARY}-reference")
    monkeypatch.setenv("BERRYGATE_LOG", "debug")
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    with echoing() as echo, scripted(*[REFUSED] * 20, hang_up=True) as refusing:
        house = Gateway(tmp_path, **config(echo, refusing.port))
        house.start(ready=False)
        house.wait(lambda: house.get("/healthz").status_code == 200)
        listener = subprocess.Popen(
            ["mosquitto_sub", "-p", str(house.broker_port), "-t", "#", "-v"],
            stdout=subprocess.PIPE,
        )
        try:
            publisher = Publisher(house.broker_port)
            publisher.run(0, 50)
            publisher.close()
            house.wait(lambda: all(b["failed"] for b in house.api("bridges")), 30)
            house.wait(lambda: bool(letters(house)), 30)
            said = said_by(house)
        finally:
            house.stop()
            listener.terminate()
        said["mqtt"] = listener.communicate()[0].decode()
        said["log"] = house.log.read_text()
    leaked = {name: lines(text) for name, text in said.items() if CANARY in text}
    sizes = {name: len(text) for name, text in said.items()}
    outcome("secrets", looked_through=sum(sizes.values()), leaks=len(leaked))
    assert leaked == {}
    assert "***" in said["status"]  # it had been there
    assert "***" in said["log"]
    assert all(sizes.values()), sizes


def lines(text: str) -> list[str]:
    """Those with a secret."""
    return [line[:300] for line in text.splitlines() if CANARY in line][:5]


def letters(house: Gateway) -> list[Any]:
    """Dead letters of the bridges."""
    return [entry for entry in house.api("status")["dead_letters"] if entry["stage"] == "deliver"]


def said_by(house: Gateway) -> dict[str, str]:
    """Everything it can be asked."""
    said = {path: house.get(path).text for path in ("/metrics", "/readyz", "/openapi.json")}
    for path in ("status", "bridges", "devices", "health", "performance"):
        said[path] = house.get(f"/api/v1/{path}").text
    for args in (("status",), ("status", "--json"), ("bridges", "list"), ("check",), ("schema",)):
        done = house.command(*args)
        said[" ".join(args)] = done.stdout + done.stderr
    return said


def test_no_secret_in_a_traceback() -> None:
    """Neither of ours nor of a library, and not in what ends the program."""
    program = f"""
import logging, warnings
from gateway import logs
from gateway.config import loads
logs.configure(2)
loads("bridges: [{{type: influxdb, url: 'http://x', bucket: b, token: {CANARY}-trace}}]", {{}})
try:
    raise ValueError("header 'Token {CANARY}-trace'")
except ValueError:
    log = logging.getLogger("gateway.x")
    log.exception("failed with %s", "{CANARY}-trace", extra={{"token": "{CANARY}-trace"}})
warnings.warn("http://me:{CANARY}-other@host is not verified")
logging.getLogger("urllib3").debug("Authorization: Token {CANARY}-more")
raise RuntimeError("{CANARY}-trace")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert said.count("***") >= 6, said
    assert CANARY not in said
