"""The page on writing drivers, followed to the letter: its drivers pass, and work in a gateway."""

import asyncio
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.gateway import Gateway
from tests.support.guide import files, importable, install
from tests.support.ports import free_port

SECTIONS = ("A device", "A bridge")


@pytest.mark.parametrize("section", SECTIONS)
def test_its_tests_pass(section: str, tmp_path: Path) -> None:
    given = files(section)
    assert len(given) == 4, sorted(given)
    install(tmp_path, given)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o",
         "asyncio_mode=auto", str(tmp_path)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


async def test_its_drivers_work_in_a_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: dict[str, Any] = {}
    for section in SECTIONS:
        given = files(section)
        install(tmp_path / section, given)
        for name, text in given.items():
            config |= yaml.safe_load(text) if name.endswith(".yaml") else {}
    here, there = (tmp_path / section for section in SECTIONS)
    with importable(here, monkeypatch), importable(there, monkeypatch):
        roof = importlib.import_module("test_station").Roof()
        book = importlib.import_module("test_logbook").Book()
        await roof.come()
        await book.come()
        config["devices"][0]["port"] = roof.port
        config["bridges"][0]["port"] = book.port
        house = Gateway(tmp_path / "gateway", broker={"port": free_port()}, **config)
        house.environment = {"PYTHONPATH": f"{here}:{there}", "LOGBOOK_TOKEN": "open-sesame"}
        try:
            await asyncio.to_thread(house.start)
            async with asyncio.timeout(60):
                while not book.readings:
                    await roof.say()
                    await asyncio.sleep(0.1)
            values = {"temperature": 8.5, "wind": 3.1}
            assert book.readings[0]["values"] == values
            assert book.readings[0]["device"] == "roof"
            assert roof.stored > 0
            # Both go away and come back: what was said meanwhile by the one waits for the other.
            await book.leave()
            taken, stored = len(book.readings), roof.stored
            async with asyncio.timeout(60):
                while roof.stored == stored:
                    await roof.say()
                    await asyncio.sleep(0.1)
                await book.come()
                while len(book.readings) <= taken:
                    await asyncio.sleep(0.1)
            found = await asyncio.to_thread(house.api, "devices/roof")
            assert found["last"]["values"] == values
            assert found["source"] == "roof"
            differences = await asyncio.to_thread(house.differences)
            assert set(differences.values()) == {0}
        finally:
            if house.process is not None:
                await asyncio.to_thread(house.stop)
            await roof.leave()
            await book.leave()
