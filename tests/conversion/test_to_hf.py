"""The conversion equals MaxText's own forward pass, and every wrong variant is caught."""

import json
import math

import numpy as np
import pytest
import safetensors.numpy

from conversion import parity
from conversion.to_hf import convert, main
from data_prep import tokenizer
from tests.conversion.checkpoints import OVERLAY, SIZES, random_arrays, save
from tests.data_prep.test_tokenizer import sample
from tinymathreason.cli import InputError

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an overlay, a tokenizer, and checkpoints scanned/ and unscanned/."""
    path = tmp_path_factory.mktemp("conversion")
    (path / "overlay.yml").write_text(OVERLAY)
    tokenizer.save(tokenizer.train(sample(), SIZES.vocab), path / "tokenizer")
    for kind in ("scanned", "unscanned"):
        scanned = kind == "scanned"
        save(path / kind, random_arrays(scanned), scanned)
    return path


@pytest.fixture(scope="module")
def converted(home):
    convert(home / "scanned", home / "overlay.yml", home / "tokenizer", home / "model")
    return home / "model"


@pytest.fixture(scope="module")
def expected(home):
    """Tokens and MaxText's logits for them."""
    tokens = parity.random_tokens(SIZES.vocab, SIZES.context, seed=1)
    return tokens, parity.maxtext_logits(home / "scanned", home / "overlay.yml", True, tokens)


def arguments(home, **changes) -> list[str]:
    values = {
        "checkpoint": home / "scanned",
        "config": home / "overlay.yml",
        "tokenizer": home / "tokenizer",
        "output": home / "other",
        **changes,
    }
    return [word for key, value in values.items() for word in (f"--{key}", str(value))]


def test_parity_is_recorded(converted) -> None:
    record = json.loads((converted / "conversion.json").read_text())
    assert record["parity"]["max_abs_diff"] < 1e-4
    assert record["parity"]["argmax_agreement"] == 1.0
    assert record["parameters"] == SIZES.parameters()


def test_unscanned_layers(home) -> None:
    convert(home / "unscanned", home / "overlay.yml", home / "tokenizer", home / "model_unscanned")


def test_the_folder_loads_and_generates(converted) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(converted)
    loaded = AutoTokenizer.from_pretrained(converted)
    assert model.num_parameters() == SIZES.parameters()
    assert model.generation_config.eos_token_id == loaded.eos_token_id
    found = model.generate(**loaded("3 + 4", return_tensors="pt"), max_new_tokens=4)
    assert found.shape[1] > 4


WRONG = {
    "permuted query": lambda t: t.update(q=permute(t["q"], SIZES.heads)),
    "permuted query and key": lambda t: t.update(
        q=permute(t["q"], SIZES.heads), k=permute(t["k"], SIZES.kv_heads)
    ),
    "missing scale": lambda t: t.update(q=t["q"] / math.sqrt(SIZES.head_dim)),
    "doubled scale": lambda t: t.update(q=t["q"] * math.sqrt(SIZES.head_dim)),
    "swapped gate and up": lambda t: t.update(gate=t["up"], up=t["gate"]),
    "swapped key and value": lambda t: t.update(k=t["v"], v=t["k"]),
}


def permute(array: np.ndarray, heads: int) -> np.ndarray:
    """The permutation of the earlier attempt: halves of each head interleaved."""
    rows, columns = array.shape
    halves = array.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


NAMES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
}


@pytest.mark.parametrize("variant", WRONG)
def test_wrong_variants_fail(converted, expected, tmp_path, variant) -> None:
    tensors = safetensors.numpy.load_file(converted / "model.safetensors")
    for layer in range(SIZES.layers):
        names = {key: f"model.layers.{layer}.{name}.weight" for key, name in NAMES.items()}
        weights = {key: tensors[name] for key, name in names.items()}
        WRONG[variant](weights)
        tensors.update({names[key]: np.ascontiguousarray(w) for key, w in weights.items()})
    (tmp_path / "config.json").write_bytes((converted / "config.json").read_bytes())
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    tokens, logits = expected
    found = parity.Parity.of(logits, parity.hf_logits(tmp_path, tokens))
    with pytest.raises(InputError, match="parity failed"):
        found.check()


def test_first_position_would_hide_a_wrong_rotation(converted, expected) -> None:
    tokens, logits = expected
    good = parity.Parity.of(logits, parity.hf_logits(converted, tokens))
    good.check()
    spoiled = logits.copy()
    spoiled[:, 0] += 100
    assert parity.Parity.of(logits, spoiled).max_abs_diff == 0
    spoiled[:, 1] += 100
    assert parity.Parity.of(logits, spoiled).max_abs_diff > 99


def test_failed_parity_leaves_nothing(home, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(parity, "maxtext_logits", lambda *a: np.zeros((4, 64, 320), np.float32))
    with pytest.raises(InputError, match="parity failed"):
        main(arguments(home, output=tmp_path / "model"))
    assert list(tmp_path.iterdir()) == []


def test_complete_output_is_left_alone_and_another_is_refused(home, converted, capsys) -> None:
    main(arguments(home, output=converted))
    assert "was already complete" in capsys.readouterr().out
    with pytest.raises(InputError, match="already exists"):
        main(arguments(home, output=converted, checkpoint=home / "unscanned"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "nowhere"}, "not a MaxText checkpoint"),
        ({"config": "none.yml"}, "no such file"),
        ({"tokenizer": "nowhere"}, "no tokenizer.json there"),
    ],
)
def test_missing_input_is_one_line(home, changes, words) -> None:
    with pytest.raises(InputError, match=words):
        main([*arguments(home, **changes), "--skip-parity"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("base_mlp_dim: 81", r"wi_0.kernel expected \(48, 3, 81\) found \(48, 3, 80\)"),
        ("base_num_decoder_layers: 4", "expected .* found"),
        ("vocab_size: 321", "the tokenizer has 320 entries, vocab_size is 321"),
        ("rope_type: llama3.1", "rope_type: 'llama3.1' cannot be converted"),
        ("scan_layer: false", "did you mean 'scan_layers'"),
    ],
)
def test_a_config_of_another_model_is_refused(home, tmp_path, line, words) -> None:
    key = line.split(":")[0]
    kept = [old for old in OVERLAY.splitlines() if not old.startswith(f"{key}:")]
    (tmp_path / "overlay.yml").write_text("\n".join([*kept, line]))
    with pytest.raises(InputError, match=words):
        main([*arguments(home, config=tmp_path / "overlay.yml"), "--skip-parity"])
    assert not (home / "other").exists()


def test_nan_is_refused(home, tmp_path) -> None:
    arrays = random_arrays(True)
    arrays["decoder.decoder_norm.scale"][3] = np.nan
    save(tmp_path / "5", arrays, True)
    with pytest.raises(InputError, match=r"model\.norm\.weight holds NaN"):
        main([*arguments(home, checkpoint=tmp_path / "5"), "--skip-parity"])
