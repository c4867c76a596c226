"""There and back gives the same bytes, and the trainer continues from the result."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml

from conversion import inspect
from conversion.architecture import Architecture
from conversion.checkpoint import Checkpoint
from conversion.export import Export
from conversion.mapping import DTYPES
from conversion.safetensors_files import TensorFiles
from conversion.to_hf import convert as to_hf
from conversion.to_maxtext import main
from conversion.verify import verify
from tests.support import preloaded
from tests.support.checkpoints import (
    SIZES,
    model_bytes,
    overlay,
    random_arrays,
    save,
    save_model,
    save_tokenizer,
)
from tests.support.limits import room_for
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.filterwarnings("ignore")]

KINDS = {
    "scanned": SIZES,
    "unscanned": SIZES,
    "odd_root": dataclasses.replace(SIZES, head_dim=24),
    "llama3": dataclasses.replace(SIZES, rope_interleaved=True, rope_llama3=True),
    "tied": dataclasses.replace(SIZES, tied=True),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a checkpoint, an overlay and both models of every kind, and a tokenizer."""
    path = tmp_path_factory.mktemp("to_maxtext")
    save_tokenizer(SIZES.vocab, path / "tokenizer")
    for kind, sizes in KINDS.items():
        scanned = kind != "unscanned"
        (path / f"{kind}.yml").write_text(overlay(sizes, scan_layers=scanned))
        save(path / kind, random_arrays(scanned, sizes), scanned)
        for dtype in ("float32", "bfloat16"):
            options = Export(path / "tokenizer", dtype)
            config = path / f"{kind}.yml"
            to_hf(path / kind, config, path / f"{kind}_{dtype}", options, skip_parity=True)
    return path


def back(home, kind: str, dtype: str, step_dir, *flags: str) -> Checkpoint:
    scan = "false" if kind == "unscanned" else "true"
    main(
        ["--model", str(home / f"{kind}_{dtype}"), "--output", str(step_dir),
         "--scan-layers", scan, *flags]
    )  # fmt: skip
    return Checkpoint(step_dir)


@pytest.mark.parametrize("kind", KINDS)
def test_maxtext_to_hf_to_maxtext(home, tmp_path, kind: str) -> None:
    result = back(home, kind, "float32", tmp_path / "0")
    before = Checkpoint(home / kind)
    assert result.entries.keys() == before.entries.keys()
    for path in result.entries:
        expected = before.read(path)
        if kind == "odd_root" and path.endswith("query.kernel"):
            # Two values a unit in the last place apart can have the same product with sqrt(24).
            np.testing.assert_array_max_ulp(result.read(path), expected, 1)
            root = np.float32(math.sqrt(24))
            np.testing.assert_array_equal(result.read(path) * root, expected * root)
        else:
            np.testing.assert_array_equal(result.read(path), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_hf_to_maxtext_to_hf(home, tmp_path, kind: str, dtype: str) -> None:
    back(home, kind, dtype, tmp_path / "0")
    options = Export(home / f"{kind}_{dtype}", dtype)
    again = tmp_path / "again"
    to_hf(tmp_path / "0", tmp_path / "0" / "overlay.yml", again, options, skip_parity=True)
    assert model_bytes(again) == model_bytes(home / f"{kind}_{dtype}")


@pytest.mark.processor
def test_a_model_of_transformers_own_making(tmp_path) -> None:
    """Weights that this project did not make, from a folder that it did not write."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = {**SIZES.hf_config(1, 0, "bfloat16"), "rope_theta": 5e5}
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    model = LlamaForCausalLM(LlamaConfig(**config)).bfloat16()
    model.save_pretrained(tmp_path / "model", max_shard_size="100KB")
    save_tokenizer(SIZES.vocab, tmp_path / "tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tokenizer" / name).rename(tmp_path / "model" / name)
    main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "0")])
    step = Checkpoint(tmp_path / "0")
    assert verify(step, tmp_path / "0" / "overlay.yml", tmp_path / "model").argmax_agreement == 1
    options = Export(tmp_path / "model", "bfloat16", 100_000)
    to_hf(step.step_dir, tmp_path / "0" / "overlay.yml", tmp_path / "again", options, True)
    for file in (tmp_path / "model").glob("*.safetensors"):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    index = "model.safetensors.index.json"
    assert read_json(tmp_path / "again" / index) == read_json(tmp_path / "model" / index)


def test_the_overlay_describes_the_model(home, tmp_path) -> None:
    from pretrain.overlay import load

    for kind, sizes in KINDS.items():
        back(home, kind, "float32", tmp_path / kind)
        config = load(tmp_path / kind / "overlay.yml")
        assert Architecture.from_maxtext(config) == sizes
        assert config["scan_layers"] == (kind != "unscanned")


@pytest.mark.processor
def test_the_trainer_continues_with_the_loss_it_had(tmp_path) -> None:
    """Step 3 of a run, and the first step from its checkpoint there and back: one loss."""
    (tmp_path / "overlay.yml").write_text(overlay(SIZES))
    save_tokenizer(SIZES.vocab, tmp_path / "tokenizer")
    common = {"base_output_directory": str(tmp_path), "metrics_file": ""}

    def train(*runs: dict) -> None:
        (tmp_path / "runs.json").write_text(json.dumps([{**common, **run} for run in runs]))
        command = ["tests.support.train_runs", str(tmp_path / "runs.json")]
        log = tmp_path / "log"
        assert preloaded.start(command, Path(), log, {}).wait() == 0, log.read_text()[-3000:]

    def losses(name: str) -> list[float]:
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line)["learning/loss"] for line in lines]

    train(
        {
            "overlay": str(tmp_path / "overlay.yml"), "run_name": "first", "steps": 4,
            "checkpoint_period": 2, "metrics_file": str(tmp_path / "first.jsonl"),
        }
    )  # fmt: skip
    step_dir = tmp_path / "first" / "checkpoints" / "2"
    to_hf(step_dir, tmp_path / "overlay.yml", tmp_path / "model", Export(tmp_path / "tokenizer"))
    main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "start")])
    train(
        {
            "overlay": str(tmp_path / "start" / "overlay.yml"), "run_name": "second", "steps": 2,
            "checkpoint_period": 2, "load_parameters_path": str(tmp_path / "start" / "items"),
            "metrics_file": str(tmp_path / "second.jsonl"),
        }
    )  # fmt: skip
    first, second = losses("first"), losses("second")
    assert first[0] > first[3] + 0.1  # it had learned something to lose
    assert second[0] == pytest.approx(first[3], abs=1e-5)


def test_the_model_is_no_place_for_its_checkpoint(home) -> None:
    model = home / "scanned_float32"
    with pytest.raises(InputError, match="would remove the input"):
        main(["--model", str(model), "--output", str(model), "--force"])
    assert (model / "config.json").is_file()


@pytest.mark.parametrize("flag", ["", "--force"])
def test_existing_output(home, tmp_path, flag: str) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "precious").write_text("")
    if not flag:
        with pytest.raises(InputError, match="already exists"):
            back(home, "scanned", "float32", tmp_path / "0")
        assert (tmp_path / "0" / "precious").exists()
    else:
        assert back(home, "scanned", "float32", tmp_path / "0", flag).scanned
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_damaged_models_are_refused(home, tmp_path) -> None:
    model, output = tmp_path / "model", tmp_path / "0"
    model.mkdir()
    words = ["--model", str(model), "--output", str(output)]
    with pytest.raises(InputError, match=r"config.json: no such file"):
        main(words)
    config = read_json(home / "scanned_float32" / "config.json")
    write_json(model / "config.json", config)
    with pytest.raises(InputError, match=r"no model.safetensors there"):
        main(words)
    source = TensorFiles(home / "scanned_float32")
    tensors = {name: source.read(name).copy() for name in source.shapes}
    file = model / "model.safetensors"
    safetensors.numpy.save_file(tensors, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="truncated, or not a safetensors file"):
        main(words)
    tensors["model.norm.weight"][3] = np.nan
    safetensors.numpy.save_file(tensors, file)
    with pytest.raises(InputError, match=r"model\.norm\.weight holds NaN or infinity"):
        main(words)
    main([*words, "--allow-nonfinite"])
    write_json(model / "config.json", {**config, "num_hidden_layers": 4})
    with pytest.raises(InputError, match=r"the tensors do not fit config.json: model.layers.3"):
        main([*words, "--force"])
    assert yaml.safe_load((output / "overlay.yml").read_text())["base_num_decoder_layers"] == 3


def frequencies(sizes: Architecture, dtype) -> np.ndarray:
    """As transformers computes them."""
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(**sizes.hf_config(1, 0, "float32"))
    result = LlamaRotaryEmbedding(config).inv_freq.to(torch.float32).numpy()
    return result.astype(DTYPES[dtype])


def with_tensors(folder, **changes) -> None:
    """Add tensors to a model, and remove those that are None; names have __ for dots."""
    file = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    tensors |= {name.replace("__", "."): tensor for name, tensor in changes.items()}
    safetensors.numpy.save_file({k: t for k, t in tensors.items() if t is not None}, file)


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("rope", ["odd_root", "llama3"])
def test_saved_frequencies_are_left_out_if_they_are_right(
    tmp_path, capsys, rope: str, kind: str
) -> None:
    sizes = KINDS[rope]
    save_model(tmp_path / "model", sizes, kind)
    right = frequencies(sizes, kind)
    name = "model__layers__1__self_attn__rotary_emb__inv_freq"
    with_tensors(tmp_path / "model", **{name: right})
    main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "0")])
    inspect.main([str(tmp_path / "model")])
    assert "redundant, and as config.json says: model.layers.1.self_attn" in capsys.readouterr().out
    wrong = dataclasses.replace(sizes, rope_theta=20_000.0)
    for tensor in (frequencies(wrong, kind), right[1:], right.view(np.uint8)):
        with_tensors(tmp_path / "model", **{name: tensor})
        with pytest.raises(InputError, match=r"layers\.1.*inv_freq is not what config.json's rope"):
            main(["--model", str(tmp_path / "model"), "--output", str(tmp_path / "1")])


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path) -> None:
    save_model(tmp_path / "model", KINDS["tied"], "bfloat16")
    words = ["--model", str(tmp_path / "model"), "--output"]
    embedding = TensorFiles(tmp_path / "model").read("model.embed_tokens.weight")
    with_tensors(tmp_path / "model", lm_head__weight=embedding)
    main([*words, str(tmp_path / "0")])
    assert "decoder.logits_dense.kernel" not in Checkpoint(tmp_path / "0").shapes
    other = embedding.copy()
    other[-1, -1] *= 2
    with_tensors(tmp_path / "model", lm_head__weight=other)
    with pytest.raises(InputError, match=r"lm_head.weight is not the embedding, but config.json"):
        main([*words, str(tmp_path / "1")])


def test_what_no_model_of_maxtext_holds_is_refused_by_name(tmp_path) -> None:
    save_model(tmp_path / "model", SIZES)
    words = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "0")]
    bias = np.zeros(96, np.float32)
    with_tensors(tmp_path / "model", model__layers__0__self_attn__q_proj__bias=bias)
    with pytest.raises(InputError, match=r"1 biases, such as model\.layers\.0\.self_attn\.q_proj"):
        main(words)
    save_model(tmp_path / "model", SIZES)
    with_tensors(tmp_path / "model", model__norm__weight=np.zeros(48, np.int8))
    with pytest.raises(InputError, match=r"norm.weight holds I8; expected float32 or bfloat16 or"):
        main(words)
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin is a pickle.* convert it \(python -c"):
        main(words)


def test_a_full_disk_is_one_line_and_leaves_nothing(home, tmp_path, capfd) -> None:
    with room_for(100_000), pytest.raises(InputError) as error:
        back(home, "scanned", "float32", tmp_path / "0")
    message = str(error.value)
    assert message.startswith(
        f"{tmp_path / '0'}: cannot be written (File too large: a file may have "
    )
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err
