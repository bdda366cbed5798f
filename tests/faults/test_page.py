"""docs/what-can-be-lost.md says what the tests saw, of every test that tells something."""

from pathlib import Path

from tests.faults import page


def test_page_is_made_of_the_outcomes_that_are_kept() -> None:
    assert page.PAGE.read_text() == page.page(page.OUTCOMES), f"run {page.COMMAND}"


def test_every_outcome_belongs_to_a_test_that_there_is() -> None:
    known = set(page.cases())
    lost = {
        name for name, told in page.outcomes(page.OUTCOMES).items() if told["test"] not in known
    }
    assert lost == set(), f"delete them from {page.OUTCOMES}, or run their tests again"


def test_case_without_an_outcome_is_named_as_one_not_run(tmp_path: Path) -> None:
    text = page.page(tmp_path)
    assert text.count("not run yet") == len(list(page.cases())) > 10
