"""The map is reversible, complete, and agrees with transformers on every name and shape."""

import dataclasses
import math

import numpy as np
import pytest

from conversion.mapping import WEIGHTS, hf_tensors, stored
from tests.conversion.checkpoints import SIZES


@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda weight: weight.hf)
def test_round_trip(weight) -> None:
    array = np.random.default_rng(0).standard_normal(weight.shape(SIZES)).astype(np.float32)
    there = weight.to_hf(array, SIZES)
    assert there.shape == weight.hf_shape(SIZES)
    back = weight.to_maxtext(there, SIZES)
    # head_dim 16 has an exact square root: the scale is reversed to the bit.
    np.testing.assert_array_equal(back, array)


def test_only_the_query_is_scaled_by_the_root_of_head_dim() -> None:
    ones = {w.hf: w.to_hf(np.ones(w.shape(SIZES), np.float32), SIZES) for w in WEIGHTS}
    scaled = {name for name, array in ones.items() if not (array == 1).all()}
    assert scaled == {"model.layers.{layer}.self_attn.q_proj.weight"}
    assert (ones[scaled.pop()] == math.sqrt(SIZES.head_dim)).all()


def test_names_and_shapes_are_transformers_own() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SIZES.hf_config(1, 0, "float32"))
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert hf_tensors(SIZES) == expected
    assert config.rope_parameters["rope_theta"] == SIZES.rope_theta


def test_scanned_and_unscanned_hold_the_same_weights() -> None:
    sizes = dataclasses.replace(SIZES, layers=5)
    counts = [
        sum(math.prod(shape) for shape in stored(sizes, scanned).values())
        for scanned in (True, False)
    ]
    assert counts == [sizes.parameters()] * 2
