import numpy as np
import pytest

from pretrain.ladder.proxies import proxies
from pretrain.ladder.regression import FORMS, Array, regress

SHARES = {"math": 0.3, "code": 0.2, "web": 0.5}
WEIGHTS = np.array([list(each.values()) for each in proxies(SHARES, 12, 0)])
OTHERS = np.random.default_rng(1).dirichlet([6, 4, 10], 50)


def exponential(w: Array) -> Array:
    return 2.0 + np.exp(w @ np.array([-1.5, -0.2, 0.4]))


def power(w: Array) -> Array:
    return 1.4 + 0.6 * w[..., 0] ** -0.3 * w[..., 1] ** -0.05


def quadratic(w: Array) -> Array:
    return 3 + 0.2 * w[..., 0] + 2 * (w[..., 0] - 0.4) ** 2 - w[..., 0] * w[..., 1]


@pytest.mark.parametrize("truth", [exponential, power, quadratic])
def test_the_right_form_is_chosen_and_foretells_other_mixtures(truth) -> None:
    noise = np.random.default_rng(0).normal(0, 0.002, len(WEIGHTS))
    found = regress("loss", WEIGHTS, truth(WEIGHTS) + noise)
    assert found.form == truth.__name__
    assert found.predict(OTHERS) == pytest.approx(truth(OTHERS), abs=0.01)
    assert found.errors[found.form] == min(found.errors.values())
    assert found.errors[found.form] < 0.01


def test_a_left_out_proxy_has_no_part_in_its_prediction() -> None:
    values = exponential(WEIGHTS)
    spoilt = values.copy()
    spoilt[4] += 1
    before, after = (regress("loss", WEIGHTS, each) for each in (values, spoilt))
    fit = FORMS[after.form](np.delete(WEIGHTS, 4, 0), np.delete(values, 4))
    assert after.left_out[4] == pytest.approx(fit(WEIGHTS[4]))
    assert before.left_out[4] == pytest.approx(values[4], abs=0.01)


def test_few_proxies_give_finite_predictions() -> None:
    found = regress("loss", WEIGHTS[:5], exponential(WEIGHTS[:5]))
    assert np.isfinite(found.predict(OTHERS)).all()
    assert np.isfinite(found.left_out).all()
