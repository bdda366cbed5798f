from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.command import Command, run
from tests.support.small_house import SmallHouse, standing


@pytest.fixture
def house() -> SmallHouse:
    return SmallHouse()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose data directory is beside it."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "berrygate.yaml"
    path.write_text(f"gateway: {{id: greenhouse-pi, data_dir: {tmp_path}/data}}\n")
    return path


@pytest.fixture
def up(house: SmallHouse, config: Path) -> Iterator[None]:
    with standing(house, config.parent / "data"):
        yield


@pytest.fixture
def berrygate(config: Path) -> Callable[..., Command]:
    """Runs `berrygate`, which finds the configuration by itself."""

    def command(*arguments: str, **environ: str) -> Command:
        return run(*arguments, BERRYGATE_CONFIG=str(config), **environ)

    return command
