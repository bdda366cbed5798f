"""The reference and the schema say what the models say."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from gateway import registry
from gateway.config import Config, reference, schema
from gateway.config.schema import drivers
from gateway.core.descriptions import description
from gateway.core.settings import Settings

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/configuration.md"


def models() -> list[type[Settings]]:
    found: list[type[Settings]] = [Config]
    for group in (registry.DEVICES, registry.BRIDGES, registry.CODECS):
        found += drivers(group).values()
    for model in found:
        for field in model.model_fields.values():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, Settings) and inner not in found:
                found.append(inner)
    return found


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference.reference(), (
        "run: python -m gateway.config.reference docs/configuration.md"
    )


def test_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference.main([str(tmp_path / "page.md")])
    reference.main([])
    assert (tmp_path / "page.md").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_key_is_described(model: type[Settings]) -> None:
    assert model.__doc__
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        assert description(model, attribute), f"{model.__name__}.{name}"
        # Alone, at the end of a dotted key, or as what others are below.
        assert re.search(rf"[`.]{name}[`.]", PAGE.read_text()) or name == "type", name


def test_page_depends_on_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/elsewhere")
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert "elsewhere" not in reference.reference()


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema_rs.Draft202012Validator(schema())


CONFIG = PROJECT / "config"
FILES = [CONFIG / "default.yaml", *sorted((CONFIG / "examples").glob("*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_schema_takes_the_examples(validator: Any, path: Path) -> None:
    data = json.loads(json.dumps(yaml.safe_load(path.read_text())))  # a key is text in JSON
    assert [str(error) for error in validator.iter_errors(data)] == []


@pytest.mark.parametrize(
    ("data", "good"),
    [
        ({}, True),
        ({"journal": None, "devices": None}, True),
        ({"journal": {"gather": 0}}, True),
        ({"broker": {"port": "${PORT}", "embedded": "${E}"}}, True),
        ({"devices": [{"type": "mqtt", "codec": {"type": "json"}, "qos": "${Q}"}]}, True),
        ({"broker": {"port": "x"}}, False),
        ({"broker": {"prot": 1}}, False),
        ({"journal": {"gather": "5x"}}, False),
        ({"journal": {"gather": 5}}, False),
        ({"devices": [{"type": "mqtt", "codec": "jsn"}]}, False),
        ({"devices": [{"id": "a"}]}, False),
        ({"devices": [{"type": "influxdb"}]}, False),
        ({"bridges": [{"type": "influxdb"}]}, False),
        ({"x": 1}, False),
    ],
)
def test_schema_knows_good_from_bad(validator: Any, data: Any, good: bool) -> None:
    assert validator.is_valid(data) is good


def test_schema_is_whole() -> None:
    found = schema()
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    kinds = {d["properties"]["type"]["const"] for d in found["$defs"].values()
             if "const" in d.get("properties", {}).get("type", {})}  # fmt: skip
    groups = (registry.DEVICES, registry.BRIDGES, registry.CODECS)
    assert kinds == {name for group in groups for name in registry.known(group)}
    assert found["$defs"]["JournalSettings"]["properties"]["max_age"]["default"] == "7d"
    text = json.dumps(found)
    for definition in found["$defs"]:
        assert f"#/$defs/{definition}" in text, f"{definition} is not used"
