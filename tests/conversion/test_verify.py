"""verify refuses every wrong variant of a conversion and accepts the right one."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from conversion import parity
from conversion.checkpoint import Checkpoint
from conversion.export import Export
from conversion.to_hf import convert
from conversion.verify import main, verify
from tests.support.checkpoints import SIZES, make_home
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an overlay, a checkpoint, and its model in float32 and in bfloat16."""
    path = make_home(tmp_path_factory.mktemp("verify"))
    for dtype in ("float32", "bfloat16"):
        options = Export(path / "tokenizer", dtype)
        convert(path / "7", path / "overlay.yml", path / dtype, options, skip_parity=True)
    return path


@pytest.fixture(scope="module")
def maxtext(home):
    """MaxText's logits, once for all variants: they do not depend on the model."""
    tokens = parity.tokens(home / "float32", SIZES.vocab, SIZES.context)
    return parity.maxtext_logits(str(home / "7"), home / "overlay.yml", True, tokens)


@pytest.fixture
def check(home, maxtext, monkeypatch):
    """Verify a model against the checkpoint."""
    monkeypatch.setattr(parity, "maxtext_logits", lambda *_args: maxtext)
    return lambda model: verify(Checkpoint(home / "7"), home / "overlay.yml", model)


@pytest.mark.processor
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_right_model_passes(home, check, dtype: str, capsys) -> None:
    assert check(home / dtype).argmax_agreement == 1.0
    main(
        ["--checkpoint", str(home / "7"), "--config", str(home / "overlay.yml"),
         "--model", str(home / dtype)]
    )  # fmt: skip
    assert capsys.readouterr().out.startswith("equal: max abs difference ")
    assert {path.name for path in home.iterdir() if path.name.startswith(".")} == set()


def copied(model: Path, folder: Path) -> Path:
    """A copy of a model, to be spoiled."""
    return Path(shutil.copytree(model, folder / "model"))


def permuted(array: np.ndarray, heads: int) -> np.ndarray:
    """The permutation of the earlier attempt: halves of each head interleaved."""
    rows, columns = array.shape
    halves = array.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def heads_last(array: np.ndarray) -> np.ndarray:
    """Each row where it would be, were a head's elements outside and the heads inside."""
    rows, columns = array.shape
    return array.reshape(SIZES.heads, -1, columns).swapaxes(0, 1).reshape(rows, columns)


def every_layer(change):
    """A change of the tensors of each layer, by their names within it."""

    def apply(tensors: dict[str, np.ndarray]) -> None:
        for layer in range(SIZES.layers):
            prefix = f"model.layers.{layer}."
            change(Prefixed(tensors, prefix))

    return apply


class Prefixed:
    """One layer's tensors, by the part of the name that tells them apart."""

    def __init__(self, tensors: dict[str, np.ndarray], prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def _name(self, key: str) -> str:
        part = "mlp" if key in ("gate", "up", "down") else "self_attn"
        return f"{self._prefix}{part}.{key}_proj.weight"

    def __getitem__(self, key: str) -> np.ndarray:
        return self._tensors[self._name(key)]

    def __setitem__(self, key: str, value: np.ndarray) -> None:
        self._tensors[self._name(key)] = value

    def swap(self, a: str, b: str) -> None:
        self[a], self[b] = self[b], self[a]

    def change(self, key: str, function) -> None:
        self[key] = function(self[key])


def shifted(tensors: dict[str, np.ndarray]) -> None:
    """Every layer's weights in the layer after it."""
    before = dict(tensors)
    for name in tensors:
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            source = (int(layer) - 1) % SIZES.layers
            tensors[name] = before[f"model.layers.{source}.{rest}"]


def transposed_head(tensors: dict[str, np.ndarray]) -> None:
    head = tensors["lm_head.weight"]
    tensors["lm_head.weight"] = np.ascontiguousarray(head.T).reshape(head.shape)


ROOT = math.sqrt(SIZES.head_dim)
WRONG = {
    "permuted query": every_layer(lambda t: t.change("q", lambda q: permuted(q, SIZES.heads))),
    "permuted query and key": every_layer(
        lambda t: (
            t.change("q", lambda q: permuted(q, SIZES.heads)),
            t.change("k", lambda k: permuted(k, SIZES.kv_heads)),
        )
    ),
    "missing scale": every_layer(lambda t: t.change("q", lambda q: q / ROOT)),
    "doubled scale": every_layer(lambda t: t.change("q", lambda q: q * ROOT)),
    "swapped gate and up": every_layer(lambda t: t.swap("gate", "up")),
    "swapped key and value": every_layer(lambda t: t.swap("k", "v")),
    "heads and their elements exchanged": every_layer(lambda t: t.change("q", heads_last)),
    "transposed head": transposed_head,
    "exchanged norms": lambda t: t.update(
        {
            f"model.layers.{i}.{a}_layernorm.weight": t[f"model.layers.{i}.{b}_layernorm.weight"]
            for i in range(SIZES.layers)
            for a, b in (("input", "post_attention"), ("post_attention", "input"))
        }
    ),
    "shifted vocabulary": lambda t: t.update(
        {"model.embed_tokens.weight": np.roll(t["model.embed_tokens.weight"], 1, axis=0)}
    ),
    "layers off by one": shifted,
    "one weight of one layer": lambda t: t.update(
        {"model.layers.1.mlp.up_proj.weight": t["model.layers.1.mlp.up_proj.weight"] * 1.01}
    ),
}


@pytest.mark.processor
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", WRONG)
def test_wrong_variants_are_caught(home, check, tmp_path, variant: str, dtype: str) -> None:
    model = copied(home / dtype, tmp_path)
    tensors = safetensors.numpy.load_file(model / "model.safetensors")
    kind = tensors["lm_head.weight"].dtype
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    WRONG[variant](tensors)
    tensors = {name: np.ascontiguousarray(t).astype(kind) for name, t in tensors.items()}
    safetensors.numpy.save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    words = "parity failed" if dtype == "float32" else "is not the checkpoint's, as bfloat16"
    with pytest.raises(InputError, match=words):
        check(model)


def test_a_row_that_no_token_asks_for_is_compared_too(home, check, tmp_path) -> None:
    model = copied(home / "float32", tmp_path)
    tensors = safetensors.numpy.load_file(model / "model.safetensors")
    asked = np.unique(parity.tokens(model, SIZES.vocab, SIZES.context))
    unasked = min(set(range(SIZES.vocab)) - set(asked.tolist()))
    tensors["model.embed_tokens.weight"][unasked] = 0
    safetensors.numpy.save_file(tensors, model / "model.safetensors")
    with pytest.raises(
        InputError, match=r"embed_tokens.weight is not the checkpoint's, as float32"
    ):
        check(model)


def test_one_bit_of_a_bfloat16_model_is_caught(home, check, tmp_path) -> None:
    model = copied(home / "bfloat16", tmp_path)
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-2] ^= 1
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="is not the checkpoint's, as bfloat16"):
        check(model)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rope_scaling", {"type": "linear", "factor": 4.0}, "differ; remove the wrong"),
        ("rope_parameters", {"type": "yarn", "factor": 4.0}, "rope_type: 'yarn' cannot be"),
        ("rope_scaling", {"rope_type": "default", "rope_theta": 5e5}, "differ; remove the wrong"),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor: 0.5 cannot be converted"),
        ("rms_norm_eps", 1e-6, "norm_epsilon expected 1e-05 found 1e-06"),
        ("num_key_value_heads", 6, "kv_heads expected 2 found 6"),
        ("rope_parameters", {"rope_theta": 5e5}, "rope_theta expected 10000.0 found 500000.0"),
        ("tie_word_embeddings", True, "tied expected False found True"),
        ("hidden_act", "gelu", "hidden_act: 'gelu' cannot be converted"),
    ],
)
def test_another_config_is_caught(home, check, tmp_path, key, value, words, dtype) -> None:
    model = copied(home / dtype, tmp_path)
    write_json(model / "config.json", {**read_json(model / "config.json"), key: value})
    with pytest.raises(InputError, match=words):
        check(model)


def test_other_tensors_and_types_are_caught(home, check, tmp_path) -> None:
    model = copied(home / "float32", tmp_path)
    tensors = safetensors.numpy.load_file(model / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    safetensors.numpy.save_file(tensors, model / "model.safetensors")
    with pytest.raises(InputError, match=r"model.norm.weight expected \(48,\) found none"):
        check(model)
    tensors["model.norm.weight"] = norm.astype(np.int8)
    safetensors.numpy.save_file(tensors, model / "model.safetensors")
    with pytest.raises(InputError, match=r"model.norm.weight holds I8; expected float32 or"):
        check(model)


def test_first_position_would_hide_a_wrong_rotation(maxtext) -> None:
    spoiled = maxtext.copy()
    spoiled[:, 0] += 100
    assert parity.Parity.of(maxtext, spoiled).max_abs_diff == 0
    spoiled[:, 1] += 100
    assert parity.Parity.of(maxtext, spoiled).max_abs_diff > 99


def test_a_nan_fails() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    parity.Parity.of(logits, logits).check()
    broken = logits.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="parity failed"):
        parity.Parity.of(logits, broken).check()


def test_a_tie_may_fall_either_way_and_nothing_else_may() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    logits[1, 2] = [0.5, 4.0, 4.0 - 1e-6, 0.0, -4.0]
    tied, other = logits.copy(), logits.copy()
    tied[1, 2, 1:3] = logits[1, 2, 2], logits[1, 2, 1]
    other[1, 2, 1:3] = 0.0, 4.0
    result = parity.Parity.of(logits, tied)
    result.check()
    assert result.argmax_agreement == 1.0
    other[1, 2, 1] = 4.0 - 2e-3
    assert parity.Parity.of(logits, other).argmax_agreement == 1.0
    logits[1, 2, 2] -= 2e-3
    assert parity.Parity.of(logits, other).argmax_agreement == 0.75


def test_the_tokens_are_random_and_text(home) -> None:
    tokens = parity.tokens(home / "float32", SIZES.vocab, SIZES.context)
    assert tokens.shape == (2 * parity.BATCH, SIZES.context)
    assert tokens.dtype == np.int32
    # Random ids spread over the vocabulary; those of a text crowd.
    assert len(np.unique(tokens[: parity.BATCH])) > len(np.unique(tokens[parity.BATCH :]))
