"""docs/codecs.md tells the truth: each payload gives the readings beside it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway import registry
from gateway.config import loads

NOW = 1_763_680_000_000_000_000
PAGE = (Path(__file__).parents[2] / "docs/codecs.md").read_text()
SHOWN = re.findall(
    r"```yaml\n([^`]*)```\n```(payload|hex)\n([^`]*)```\n```readings\n([^`]*)```", PAGE
)


@pytest.mark.parametrize(("config", "form", "written", "readings"), SHOWN)
def test_what_is_shown_is_so(config: str, form: str, written: str, readings: str) -> None:
    (device,) = loads(config).devices
    payload = bytes.fromhex(written) if form == "hex" else written.encode()
    found = []
    codec: Any = device.codec.build()  # type: ignore[attr-defined]
    for time, values in codec.decode("d", payload, NOW):
        when = {} if time is None else {"time": time / 10**6}
        found.append({**when, **values})
    assert found == [json.loads(line) for line in readings.splitlines()]


def test_every_codec_is_there() -> None:
    for name in registry.known(registry.CODECS):
        assert f"[`{name}`]" in PAGE
    assert len(SHOWN) == len(registry.known(registry.CODECS)) - 2  # msgpack is with cbor
