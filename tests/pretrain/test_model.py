"""Parameters and arithmetic agree with counts that others made."""

import pytest

from conversion.architecture import Architecture
from pretrain import overlay
from pretrain.model import Model

NAMES = ("tinymathreason_1b", "quickstart", "realdata")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_as_conversion_counts_them(name) -> None:
    config = overlay.load(f"maxtext_configs/{name}.yml")
    assert Model.from_config(config).parameters == Architecture.from_maxtext(config).parameters


def test_a_tied_head_multiplies_but_is_stored_once() -> None:
    config = overlay.load("maxtext_configs/quickstart.yml")
    own, tied = (
        Model.from_config({**config, "logits_via_embedding": tied}) for tied in (False, True)
    )
    assert own.matrices == tied.matrices
    assert own.parameters - tied.parameters == own.vocab * own.hidden


def test_the_1b_models_step() -> None:
    model = Model.from_config(overlay.load("maxtext_configs/tinymathreason_1b.yml"))
    assert model.parameters == 1_123_117_056
    # All but the embedding (65.5M) and 45 norms of 2,048.
    assert model.matrices == 1_123_117_056 - 32_000 * 2048 - 45 * 2048
    # Causal: 2 products of 2 x 2048 x 4096 / 2 operations, thrice with the backward pass.
    assert model.attention_flops_per_token == 22 * 3 * 2 * (2 * 2048 * 4096 // 2)
    assert model.flops_per_token == 6 * model.matrices + model.attention_flops_per_token
