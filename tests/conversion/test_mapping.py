"""The map is reversible, complete, and agrees with transformers on every name and shape."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conversion import export, to_maxtext
from conversion.architecture import LLAMA3_ROPE, Architecture
from conversion.mapping import DTYPES, hf_tensors, sizes_of, stored, weights
from conversion.weight import hf_rows, unscale
from tests.support.checkpoints import FAMILIES, SHAPES, SIZES, random_arrays
from tinymathreason.cli import InputError

MODELS = SHAPES | FAMILIES
INTERLEAVED = dataclasses.replace(SIZES, rope_interleaved=True, rope_llama3=True)


def to_hf(weight, array, sizes) -> np.ndarray:
    """A whole array of one layer, placed at once."""
    tensor = np.full(weight.hf_shape(sizes), np.nan, np.float32)
    region = tuple(slice(0, size) for size in array.shape)
    weight.place(array * weight.factor(sizes), region, tensor, sizes)
    return tensor


@pytest.mark.parametrize("sizes", [SIZES, INTERLEAVED], ids=["halves", "interleaved"])
@pytest.mark.parametrize("weight", weights(SIZES), ids=lambda weight: weight.hf)
def test_round_trip(weight, sizes) -> None:
    array = np.random.default_rng(0).standard_normal(weight.shape(sizes)).astype(np.float32)
    there = to_hf(weight, array, sizes)
    # head_dim 16 has an exact square root: the scale is reversed to the bit.
    np.testing.assert_array_equal(weight.to_maxtext(there, sizes), array)


def test_only_the_query_is_scaled_by_the_root_of_head_dim() -> None:
    ones = {w.hf: to_hf(w, np.ones(w.shape(SIZES), np.float32), SIZES) for w in weights(SIZES)}
    scaled = {name for name, array in ones.items() if not (array == 1).all()}
    assert scaled == {"model.layers.{layer}.self_attn.q_proj.weight"}
    assert (ones[scaled.pop()] == math.sqrt(SIZES.head_dim)).all()


def test_only_interleaved_rotary_weights_are_reordered() -> None:
    for weight in weights(SIZES):
        array = np.random.default_rng(0).standard_normal(weight.shape(SIZES)).astype(np.float32)
        same = (to_hf(weight, array, SIZES) == to_hf(weight, array, INTERLEAVED)).all()
        assert same != weight.rotary, weight.hf
    # Evens first, then odds, as halves are rotated against each other.
    assert hf_rows(8).argsort().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@given(
    arrays(np.float32, 50, elements=st.floats(-1e9, 1e9, width=32)), st.sampled_from([32, 48, 128])
)
def test_unscaling_gives_a_value_that_scales_back(values, head_dim) -> None:
    factor = np.float32(math.sqrt(head_dim))
    product = values * factor
    np.testing.assert_array_equal(unscale(product, factor) * factor, product)


def test_names_and_shapes_are_transformers_own() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    for name, (sizes, _) in MODELS.items():
        values = sizes.hf_config(1, 0, "float32")
        config = AutoConfig.for_model(**values)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        if sizes.tied:
            del expected["lm_head.weight"]
        assert hf_tensors(sizes) == expected, name
        assert list(hf_tensors(sizes)) == list(expected), name
        assert sizes.parameters == sum(math.prod(shape) for shape in expected.values())
        assert config.rope_parameters["rope_theta"] == sizes.rope_theta


@pytest.mark.parametrize("name", MODELS)
def test_an_architecture_survives_both_configurations(name: str) -> None:
    from pretrain.overlay import _read, upstream_configs

    sizes, _ = MODELS[name]
    base = _read(upstream_configs() / "base.yml")
    assert Architecture.from_maxtext({**base, **sizes.maxtext_config()}) == sizes
    back = Architecture.from_hf(sizes.hf_config(1, 0, "float32"))
    assert back == sizes.described


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model_type": "gemma2"},
            "'gemma2' cannot be converted; expected 'llama' or 'mistral' or 'qwen2' or 'qwen3'",
        ),
        ({"attention_bias": True}, "attention_bias: True cannot be converted; expected False$"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: .* expected null"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window: True cannot"),
        ({"model_type": "qwen3", "layer_types": ["sliding_attention"]}, "layer_types: 'sliding_a"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type: 'yarn'"),
        ({"rope_parameters": {"rope_theta": 0.5}}, "rope_theta: 0.5 cannot be converted"),
        ({"model_type": "mistral", "sliding_window": 63}, "sliding_window: 63"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type: 'dynamic'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "cannot be converted"),
        (
            {"rope_parameters": {**LLAMA3_ROPE, "rope_theta": 5e5, "factor": 32.0}},
            r"factor: 32.0 cannot be converted; MaxText has Llama 3.1's 8.0 in its code",
        ),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling: factor: expected a number"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "layers: expected 1 to"),
        ({"num_hidden_layers": 3.0}, "layers: expected 1 to"),
        ({"num_attention_heads": 0, "head_dim": 0}, "hidden_size and heads"),
        ({"rms_norm_eps": "a"}, "norm_epsilon: expected a positive number"),
        ({"tie_word_embeddings": 1}, "tied: expected true or false"),
        ({"rope_parameters": "default"}, "rope_parameters: expected a mapping"),
    ],
)
def test_other_models_are_refused(changes, words) -> None:
    config = {**SIZES.hf_config(1, 0, "float32"), **changes}
    config = {key: value for key, value in config.items() if value is not None or key != words}
    with pytest.raises(InputError, match=words):
        Architecture.from_hf(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"pretraining_tp": 1, "_name_or_path": "x", "auto_map": {"AutoConfig": "a.B"}},
        {"rope_scaling": None, "rope_parameters": None},
        {"rope_scaling": {"type": "linear", "factor": 1}, "rope_parameters": None},
        {"rope_parameters": {"rope_theta": 10_000, "partial_rotary_factor": 1.0}},
        {"head_dim": None},
        {"attention_bias": None, "mlp_bias": None, "hidden_act": "swish"},
        {"eos_token_id": [1, 2], "pad_token_id": None, "bos_token_id": 5},
        {"model_type": "mistral", "sliding_window": SIZES.context},
        {"layer_types": ["full_attention"] * 3, "use_sliding_window": False},
        {"dtype": None, "torch_dtype": "float16"},
    ],
)
def test_harmless_differences_are_accepted(changes) -> None:
    sizes = dataclasses.replace(SIZES, hidden=SIZES.heads * SIZES.head_dim)
    config = {**sizes.hf_config(1, 0, "float32"), **changes}
    assert Architecture.from_hf(config) == sizes


@settings(max_examples=30)
@given(st.data())
def test_blocks_of_any_cut_fill_the_tensors(data) -> None:
    """However an array is cut into blocks, every element arrives once, at the same place."""
    sizes = data.draw(st.sampled_from([SIZES, INTERLEAVED]))
    array = data.draw(st.sampled_from(list(stored(sizes, True).values())))
    whole = random_arrays(True, sizes)[array.path]
    hf_shape = array.weight.hf_shape(sizes)
    expected, result = (
        [np.full(hf_shape, np.nan, np.float32) for _ in array.names] for _ in range(2)
    )
    full = tuple(slice(0, size) for size in whole.shape)
    cuts = [sorted({0, size, data.draw(st.integers(0, size))}) for size in whole.shape]
    regions = [()]
    for cut in cuts:
        parts = [slice(a, b) for a, b in itertools.pairwise(cut)]
        regions = [(*region, part) for region in regions for part in parts]
    for target, pieces in ((expected, [full]), (result, regions)):
        for region in pieces:
            for index, part, inner in array.split(whole[region], region):
                array.weight.place(part, inner, target[index], sizes)
    np.testing.assert_array_equal(result, expected)
    assert not np.isnan(result).any()


@st.composite
def models(draw) -> Architecture:
    """Sizes of a small model of any family that Hugging Face describes."""
    kv_heads, llama3 = draw(st.integers(1, 3)), draw(st.booleans())
    kind = draw(st.sampled_from([{}, {"qk_norm": True}, {"qkv_bias": True}]))
    return Architecture(
        **{key: draw(st.integers(1, 9)) for key in ("layers", "hidden", "mlp", "vocab")},
        heads=kv_heads * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 12)),
        context=64,
        tied=draw(st.booleans()),
        rope_theta=1e4,
        norm_epsilon=1e-5,
        rope_llama3=llama3,
        rope_interleaved=llama3,
        query_scaled=not kind,
        **kind,
    )


@settings(max_examples=60)
@given(models(), st.sampled_from(list(DTYPES)), st.booleans(), st.integers(0, 9))
def test_every_bit_of_every_finite_weight_comes_back(sizes, name, scanned, seed) -> None:
    """Whatever the sizes, the family and the type; also subnormal numbers and the largest ones."""
    dtype = DTYPES[name]
    rng = np.random.default_rng(seed)

    def weight(shape) -> np.ndarray:
        values = rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype)[..., 0]
        return np.where(np.isfinite(values), values, dtype.type(1))

    model = {key: weight(shape) for key, shape in hf_tensors(sizes).items()}
    files = SimpleNamespace(read=model.get, dtypes=dict.fromkeys(model, name), folder="model")
    if not to_maxtext.scales_back(files, sizes):
        assert name == "float32"
        sizes = dataclasses.replace(sizes, query_scaled=False)
    for array in stored(sizes, scanned).values():
        block = to_maxtext.to_array(array, files, sizes, False)
        assert block.shape == array.shape
        region = tuple(slice(0, size) for size in array.shape)
        checkpoint = SimpleNamespace(blocks=lambda path, b=block, r=region: [(r, b)], step_dir="0")
        for key, tensor in zip(
            array.names, export.tensors(checkpoint, array, sizes, dtype), strict=True
        ):
            assert tensor.tobytes() == model.pop(key).tobytes(), key
    assert not model


@pytest.mark.parametrize("scanned", [True, False])
def test_sizes_follow_from_shapes(scanned: bool) -> None:
    for sizes, _ in MODELS.values():
        shapes = {path: array.shape for path, array in stored(sizes, scanned).items()}
        assert sum(math.prod(shape) for shape in shapes.values()) == sizes.parameters
        result = sizes_of(shapes)
        assert stored(result, scanned) == stored(sizes, scanned)
    with pytest.raises(InputError, match="no array tells head_dim and heads and kv_heads"):
        sizes_of({"token_embedder.embedding": (8, 4), "decoder.layers.mlp.wi_0.kernel": (4, 2, 6)})
