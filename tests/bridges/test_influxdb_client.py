"""What the bridge takes of influxdb-client: the connection that it makes, and little more."""

import subprocess
import sys
from typing import Any

import influxdb_client
import pytest

import bridges.influxdb
from bridges.influxdb import InfluxdbSettings
from gateway.io.parts_of import parts_of

_LOADED = """
import sys
import bridges.influxdb
bridges.influxdb._client()
print([name for name in sys.modules if "influxdb_client" in name])
import influxdb_client
assert influxdb_client.InfluxDBClient and influxdb_client.Point
"""


@pytest.mark.parametrize(
    "given",
    [
        {"token": "secret"},
        {},
        {"token": "secret", "verify": False},
        {"token": "secret", "ca_file": "/etc/ssl/ours.pem"},
    ],
)
def test_the_connection_is_the_clients_own(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://influx.local:8086"
    for name in [each for each in sys.modules if each.startswith("influxdb_client")]:
        monkeypatch.delitem(sys.modules, name)
    bridges.influxdb._client.cache_clear()
    settings = InfluxdbSettings.model_validate({"url": url, "bucket": "b", "org": "o", **given})
    seen: list[Any] = []
    monkeypatch.setattr(bridges.influxdb, "_post", lambda *args: seen.extend(args))
    bridges.influxdb._version_2(settings, url)
    _, pool, where, query, headers = seen
    whole = influxdb_client.InfluxDBClient(
        url,
        given.get("token"),
        verify_ssl=given.get("verify", True),
        ssl_ca_cert=given.get("ca_file"),
        retries=False,
    ).api_client
    assert headers == whole.default_headers
    theirs = whole.rest_client.pool_manager
    assert _text(pool.connection_pool_kw) == _text(theirs.connection_pool_kw)
    assert type(pool) is type(theirs)
    assert (where, query) == (
        f"{url}/api/v2/write", {"org": "o", "bucket": "b", "precision": "ns"},
    )  # fmt: skip


def _text(options: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}


def test_nothing_else_of_it_is_loaded() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _LOADED], check=True, capture_output=True, text=True
    )
    assert found.stdout == "[]\n"


def test_what_is_loaded_already_is_not_loaded_twice() -> None:
    (found,) = parts_of(["influxdb_client"], ["influxdb_client.version"])
    assert found is sys.modules["influxdb_client.version"]


def test_a_package_that_is_not_there_is_told_of() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        parts_of(["no_such_package"], ["no_such_package.part"])
    assert "no_such_package" not in sys.modules
