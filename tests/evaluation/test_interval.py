"""Wilson's interval agrees with published values and its symmetries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.interval import effective, estimate, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Newcombe (1998), Table I: the score method without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_laws(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert low < high
    mirrored = wilson(n - correct, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="not an accuracy"):
        wilson(correct, n)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=50), st.integers(1, 5))
def test_copies_of_a_problem_tell_nothing_new(shares: list[float], copies: int) -> None:
    """The interval of problems that are asked several times is that of the problems."""
    repeated = [share for share in shares for _ in range(copies)]
    clusters = [number for number in range(len(shares)) for _ in range(copies)]
    assert effective(repeated, clusters) == pytest.approx(len(shares))
    once, again = estimate(shares), estimate(repeated, clusters)
    assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high))
    assert again.n == copies * len(shares)


def test_versions_that_differ_tell_something_new() -> None:
    # Two problems, of each one version right: the clusters have no variance.
    assert effective([0, 1, 1, 0], [0, 0, 1, 1]) == 4
    # The rate is 1/2, so the clusters' totals are 1, -1 and 0.
    shares, clusters = [1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 2, 2]
    assert effective(shares, clusters) == pytest.approx(0.25 / (2 / 36))
