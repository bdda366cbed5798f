"""Who stands in for a bridge must be another one that there is."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.problems import InvalidConfig

ONE = "  - {type: influxdb, name: %s, version: '1', url: 'http://h:1', database: d%s}\n"


def config(tmp_path: Path, *bridges: tuple[str, str]) -> Path:
    path = tmp_path / "berrygate.yaml"
    path.write_text(
        "bridges:\n"
        + "".join(
            ONE % (name, f", retry: {{failover: {other}}}" if other else "")
            for name, other in bridges
        )
    )
    return path


@pytest.mark.parametrize(
    ("bridges", "message"),
    [
        ((("a", "nowhere"), ("b", "")), 'no bridge "nowhere"'),
        ((("a", "a"), ("b", "")), "cannot stand in for itself"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    tmp_path: Path, bridges: tuple[tuple[str, str], ...], message: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        load(config(tmp_path, *bridges))
    (problem,) = refused.value.problems
    assert message in problem.message
    assert problem.line == 2
    assert "name one of: b" in str(problem.fix)


def test_bridges_may_stand_in_for_each_other(tmp_path: Path) -> None:
    found = load(config(tmp_path, ("a", "b"), ("b", "a")))
    assert found.named_bridges["a"].retry.failover == "b"
