"""A pool saves at least 60 % of what a write costs with a connection of its own; in one run."""

import pytest

from tests.benchmarks.pool import CASES, measure, servers

LEAST = 0.6


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["mqtt", "postgres", "https", "redis", "psycopg_pool"])
def test_it_saves_most_of_a_write(name: str) -> None:
    with servers({name}) as found:
        plain, make, port = found[name]
        for case in CASES:
            without, pooled = measure(plain, make, port, case, 60)
            saved = 1 - pooled / without
            print(f"{name} {case.name}: {without * 1e3:.2f} ms, {pooled * 1e3:.3f} ms, {saved:.1%}")
            assert saved >= LEAST, case.name
