"""pass@k equals a count of all draws, and the majority vote follows its rules."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.pass_at_k import majority, pass_at_k


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n: int) -> None:
    for correct, k in itertools.product(range(n + 1), range(1, n + 1)):
        draws = list(itertools.combinations(range(n), k))
        passed = sum(any(answer < correct for answer in draw) for draw in draws)
        assert pass_at_k(n, correct, k) == pytest.approx(passed / len(draws), abs=1e-15)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_laws_of_pass_at_k(case: tuple[int, int]) -> None:
    n, correct = case
    assert pass_at_k(n, correct, 1) == pytest.approx(correct / n)
    assert pass_at_k(n, correct, n) == float(correct > 0)
    assert pass_at_k(n, correct, max(1, n // 2)) >= pass_at_k(n, correct, 1) - 1e-12


@pytest.mark.parametrize(
    ("n", "correct", "k"), [(0, 0, 1), (4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)]
)
def test_impossible_counts_are_refused(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="not an estimate"):
        pass_at_k(n, correct, k)


def same(left: str, right: str) -> bool:
    return float(left) == float(right)


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        (["1", "2", "2.0"], 1),
        (["1", "2", "2.0", "1.0"], 0),
        (["2", "1", "1.0", "2.0", "1"], 1),
        ([None, None, "7"], 2),
        ([None, None], None),
        ([], None),
    ],
)
def test_the_largest_group_wins(answers: list[str | None], chosen: int | None) -> None:
    assert majority(answers, same) == chosen


@given(st.lists(st.none() | st.sampled_from(["1", "1.0", "2", "2.0", "3"]), max_size=12))
def test_laws_of_the_majority(answers: list[str | None]) -> None:
    chosen = majority(answers, same)
    values = [None if answer is None else float(answer) for answer in answers]
    stated = [value for value in values if value is not None]
    if not stated:
        assert chosen is None
        return
    assert chosen is not None
    counts = {value: stated.count(value) for value in stated}
    winners = [value for value, count in counts.items() if count == max(counts.values())]
    assert values[chosen] == winners[0]  # a dictionary keeps the order of first sight
    assert chosen == values.index(winners[0])


def test_equal_texts_are_not_compared() -> None:
    def never(left: str, right: str) -> bool:
        raise AssertionError

    assert majority(["x"] * 5, never) == 0
