"""docs/what-can-be-lost.md says what the tests saw, of every test that tells something."""

from pathlib import Path

from tests.faults import page


def test_page_is_made_of_the_outcomes_that_are_kept() -> None:
    """Tests that were added since have none yet: they are named when the page is next made."""
    kept, made = page.PAGE.read_text(), page.page(page.OUTCOMES)
    assert kept.split(page.NOT_RUN)[0].rstrip() == made.split(page.NOT_RUN)[0].rstrip(), (
        f"run {page.COMMAND}"
    )


def test_every_outcome_belongs_to_a_test_that_there_is() -> None:
    known = set(page.cases())
    lost = {
        name for name, told in page.outcomes(page.OUTCOMES).items() if told["test"] not in known
    }
    assert lost == set(), f"delete them from {page.OUTCOMES}, or run their tests again"


def test_cases_without_an_outcome_are_named_as_not_run(tmp_path: Path) -> None:
    waiting = page.page(tmp_path).split(page.NOT_RUN)[1].split("\n- ")[1:]
    assert len(waiting) == len(list(page.cases())) > 10


def test_every_test_that_looks_for_faults_and_tells_an_outcome_is_found() -> None:
    assert "test_kills.py::test_kill_of_the_gateway_loses_and_repeats_nothing" in page.cases()
