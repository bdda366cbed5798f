"""A driver with a mistake is refused, and its author hears which."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import Unfit, check_bridge, check_device
from tests.support.guide import files, importable, install
from tests.testing.broken import BRIDGE, DEVICE, Mistake

PATIENCE = 6.0  # several mistakes show only once it is over; less, and a busy machine is one


def made(directory: Path, section: str, mistake: Mistake) -> None:
    """The driver of the page with the mistake, installed."""
    given = files(section)
    names = [name for name, text in given.items() if mistake.old in text]
    assert names, f"the page has changed: {mistake.old}"
    name = next((each for each in names if not each.startswith("test_")), names[0])
    given[name] = given[name].replace(mistake.old, mistake.new)
    for each in given:
        if each.startswith("berrygate"):
            given[each] = given[each].replace(
                "from gateway.core.contracts import ",
                "from gateway.core.settings import Secret\n"
                "from gateway.core.contracts import Reading, Reply, ",
            )
    install(directory, given)


def heard(error: pytest.ExceptionInfo[Unfit], mistake: Mistake) -> None:
    text = str(error.value)
    assert mistake.said in text, text
    assert "\n fix: " in text


@pytest.mark.parametrize("mistake", DEVICE, ids=lambda mistake: mistake.name)
async def test_device(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "A device", mistake)
    with importable(tmp_path, monkeypatch):
        roof: Any = importlib.import_module("test_station").Roof()
        settings = importlib.import_module("berrygate_station").StationSettings
        await roof.come()
        try:
            with pytest.raises(Unfit) as error:
                await check_device(
                    settings,
                    {"host": "127.0.0.1", "port": roof.port, "again": "100ms"},
                    say=roof.say,
                    leave=roof.leave,
                    come=roof.come,
                    # Some of the mistakes are those of a device that cannot answer.
                    answered=(lambda: roof.stored) if "on_done=done" in _driver(tmp_path) else None,
                    example=tmp_path / "station.yaml",
                    patience=PATIENCE,
                )
        finally:
            await roof.leave()
    heard(error, mistake)


@pytest.mark.parametrize("mistake", BRIDGE, ids=lambda mistake: mistake.name)
async def test_bridge(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "A bridge", mistake)
    with importable(tmp_path, monkeypatch):
        book: Any = importlib.import_module("test_logbook").Book()
        settings = importlib.import_module("berrygate_logbook").LogbookSettings
        await book.come()
        try:
            with pytest.raises(Unfit) as error:
                await check_bridge(
                    settings,
                    {"host": "127.0.0.1", "port": book.port, "token": "open-sesame"},
                    took=lambda: len(book.readings),
                    leave=book.leave,
                    come=book.come,
                    refused={"poison": 1.0},
                    denied={"token": "guessed-token"},
                    busy=lambda: setattr(book, "busy", True),
                    example=tmp_path / "logbook.yaml",
                    patience=PATIENCE,
                )
        finally:
            await book.leave()
    heard(error, mistake)


def _driver(directory: Path) -> str:
    return (directory / "berrygate_station.py").read_text()
