import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.ladder.proxies import LEAST, STEP, proxies
from tinymathreason.cli import InputError

SHARES = {"math": 0.13, "papers": 0.18, "code": 0.09, "web": 0.60}

weights = st.lists(st.floats(0.01, 1), min_size=2, max_size=8)


@settings(max_examples=15, deadline=None)
@given(weights, st.integers(2, 20), st.integers(0, 2**64 - 1), st.floats(1.1, 20))
def test_design(values: list[float], count: int, seed: int, room: float) -> None:
    shares = {f"source-{i}": value / sum(values) for i, value in enumerate(values)}
    limits = {name: room * share for name, share in shares.items() if name != "source-1"}
    design = proxies(shares, count, seed, limits)
    assert len(design) == count == len({tuple(each.values()) for each in design})
    assert design[0] == pytest.approx(shares, abs=1 / STEP)
    for each in design:
        assert list(each) == list(shares)
        parts = [weight * STEP for weight in each.values()]
        assert parts == pytest.approx(np.round(parts), abs=1e-9)
        assert sum(np.round(parts)) == STEP
        for name, weight in each.items():
            assert weight >= min(LEAST, shares[name] / 2) - 1 / STEP
            assert weight > 0
            assert weight <= limits.get(name, 1) + 1e-9
    assert design[: count // 2] == proxies(shares, count // 2, seed, limits)


def test_design_spreads_more_than_a_random_draw() -> None:
    """The information on a line through the weights, against draws from the same Dirichlet."""

    def information(design: np.ndarray) -> float:
        return float(np.linalg.slogdet(np.cov(design[:, 1:].T))[1])

    generator = np.random.default_rng(0)
    center = np.array(list(SHARES.values()))
    drawn = [information(generator.dirichlet(8 * center, 12)) for _ in range(50)]
    design = np.array([list(each.values()) for each in proxies(SHARES, 12, 0)])
    assert information(design) > max(drawn)


def test_each_seed_is_another_design_with_the_same_first_proxy() -> None:
    first, second = proxies(SHARES, 5, 0), proxies(SHARES, 5, 1)
    assert first[0] == second[0] == SHARES
    assert first[1:] != second[1:]


def test_weights_do_not_need_to_be_normalised() -> None:
    assert proxies({name: 7 * share for name, share in SHARES.items()}, 4, 0) == proxies(
        SHARES, 4, 0
    )


@pytest.mark.parametrize(
    ("shares", "count", "limits", "message"),
    [
        ({"math": 1.0}, 4, None, "two sources or more"),
        ({"math": 1.0, "web": 0.0}, 4, None, "each with a weight of 0.0002 or more"),
        ({}, 4, None, "two sources"),
        (SHARES, 0, None, "at least 1"),
        (SHARES, 4, {"math": 0.1}, "sources.math: the weight 0.130 is above its limit of 0.100"),
        (SHARES, 4, SHARES, "the limits leave no room for 4 different mixtures"),
    ],
)
def test_bad_input(
    shares: dict[str, float], count: int, limits: dict[str, float] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        proxies(shares, count, 0, limits)
