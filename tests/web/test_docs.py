"""The page keeps up with the program."""

import re
from pathlib import Path

import httpx

from gateway.web.guard import HEADERS

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


async def test_every_path_has_its_place(http: httpx.AsyncClient) -> None:
    description = (await http.get("/openapi.json")).json()
    described = set(re.findall(r"`(?:(?:GET|POST|DELETE) )?(/[^`]*)`", PAGE))
    missing = set(description["paths"]) - described
    assert not missing
    for path in described - set(description["paths"]):
        if "?" not in path:
            assert (await http.get(path)).status_code == 200, f"{path} does not exist"


async def test_every_parameter_has_its_place(http: httpx.AsyncClient) -> None:
    description = (await http.get("/openapi.json")).json()
    for path, methods in description["paths"].items():
        every = [p for method in methods.values() for p in method.get("parameters", [])]
        for parameter in every:
            assert parameter["description" if parameter["in"] == "query" else "name"], path
            assert (
                f"`{parameter['name']}`" in PAGE
                or f"`{parameter['name']}=" in PAGE
                or f"{{{parameter['name']}}}" in PAGE
            )


async def test_every_metric_has_its_place(http: httpx.AsyncClient) -> None:
    text = (await http.get("/metrics")).text
    kinds = dict(re.findall(r"^# TYPE (berrygate_\w+) (\w+)$", text, re.MULTILINE))
    assert kinds
    described = set(re.findall(r"`(berrygate_\w+)", PAGE))
    assert described == set(kinds)


def test_the_policy_is_the_documented_one() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "Content-Security-Policy: default-src 'self'" in PAGE
