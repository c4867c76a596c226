"""MaxText goes on from an open model with the loss that transformers has, learns, and comes back.

The model has random weights and a tokenizer as open models have it: something begins a document,
and the token that ends it also ends a turn and is the padding.
"""

import json
from pathlib import Path

import pytest
import yaml
from array_record.python.array_record_data_source import ArrayRecordDataSource

from benchmarks.batches import batches
from benchmarks.torch_loop import batch_loss
from benchmarks.training_parity import load_model
from conversion.export import Export
from conversion.to_hf import convert as to_hf
from conversion.to_maxtext import main as to_maxtext
from data_prep.build import build
from data_prep.recipe import Recipe
from data_prep.stages.records import decode
from pretrain import overlay, padding, run
from tests.support import preloaded
from tests.support.builds import write_recipe
from tests.support.checkpoints import SIZES
from tests.support.open_tokenizer import CHAT, make
from tinymathreason.config import load
from tinymathreason.records.mixture import Mixture

pytestmark = [
    pytest.mark.processor,
    pytest.mark.xdist_group("maxtext"),
    pytest.mark.filterwarnings("ignore"),
]

STEPS = 30


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The open model, its checkpoint 0/, a mixture with its tokenizer, and run.yml."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("going_on")
    config = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "post": "<|im_start|>"}
    make(path / "open", ["<|endoftext|>", *CHAT], config)
    (path / "open" / "generation_config.json").write_text('{"eos_token_id": 2, "pad_token_id": 2}')
    torch.manual_seed(0)
    # More rows than the tokenizer has entries, as many open models have.
    sizes = {**SIZES.hf_config(2, 2, "float32"), "vocab_size": 704}
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(path / "model")
    for file in (path / "open").iterdir():
        file.rename(path / "model" / file.name)
    to_maxtext(["--model", str(path / "model"), "--output", str(path / "0")])
    source = {"format": "generator", "path": "number_facts", "documents": 1_000, "weight": 1}
    tokens = {"path": str(path / "model"), "end_of_text": "<|im_end|>"}
    recipe = write_recipe(path, {"facts": source}, tokenizer=tokens, near_duplicates=False)
    build(load(Recipe, recipe, [f"output_dir={path / 'mixture'}", "executor.workers=1"]))
    quickstart = overlay.load("maxtext_configs/quickstart.yml")
    keys = {
        "base_config": "0/overlay.yml",
        **{key: quickstart[key] for key in SHARED},
        "load_parameters_path": str(path / "0" / "items"),
        "max_target_length": 64,
        "steps": STEPS,
        "learning_rate_schedule_steps": STEPS,
        "learning_rate": 0.01,
        "warmup_steps_fraction": 0.1,
        "learning_rate_final_fraction": 0.0,
        "eval_interval": -1,
        "checkpoint_period": STEPS - 1,
        "grain_train_mixture_config_path": str(path / "mixture" / "mixture.json"),
        "tokenizer_path": str(path / "mixture" / "tokenizer"),
        "base_output_directory": str(path),
        "run_name": "run",
        "metrics_file": str(path / "metrics.jsonl"),
        "log_config": False,
    }
    (path / "run.yml").write_text(yaml.safe_dump(keys))
    return path


SHARED = (
    "hardware", "dtype", "attention", "remat_policy", "skip_jax_distributed_system",
    "jax_cache_dir", "dataset_type", "grain_packing_type", "tokenize_train_data",
    "tokenizer_type", "add_bos", "grain_worker_count", "per_device_batch_size",
)  # fmt: skip
"""Keys of the quickstart's overlay that have nothing to do with its model."""


@pytest.fixture(scope="module")
def losses(home) -> list[float]:
    """The loss of each step of the training."""
    process = preloaded.start(["maxtext.train", "run.yml"], home, home / "log", {})
    assert process.wait() == 0, (home / "log").read_text()[-3000:]
    lines = (home / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["learning/loss"] for line in lines]


def held_out_loss(home: Path, model: Path) -> float:
    """The mean loss of transformers on the held-out documents, in nats a token."""
    import torch

    loaded = load_model(model)
    files = sorted(map(str, (home / "mixture").glob("*/eval-*")))
    total, count = 0.0, 0
    with torch.inference_mode():
        for record in ArrayRecordDataSource(files):
            ids = torch.from_numpy(decode(record))[None]
            total += (ids.shape[1] - 1) * float(loaded(input_ids=ids, labels=ids).loss)
            count += ids.shape[1] - 1
    return total / count


def test_the_first_loss_is_that_of_transformers_on_the_same_rows(home, losses) -> None:
    (home / "given").mkdir()
    words = padding.arguments(overlay.load(home / "run.yml"), home / "given")
    assert len(words) == 1
    batch = next(batches(home / "run.yml", words))
    # The token that ends a document is learned, although the tokenizer calls it padding.
    encoding = Mixture.load(home / "mixture" / "manifest.json").encoding
    assert encoding is not None
    assert (encoding.begin, encoding.end) == ([1], 2)
    ends = batch["targets"][:, :-1] == encoding.end
    assert ends.sum() > 8
    assert (batch["targets_segmentation"][:, :-1][ends] != 0).all()
    loss, _ = batch_loss(load_model(home / "model"), batch, 0.0)
    assert losses[0] == pytest.approx(loss.item(), abs=1e-4)


def test_it_learns_and_comes_back(home, losses) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert len(losses) == STEPS
    step_dir = home / "run" / "checkpoints" / str(STEPS - 1)
    to_hf(step_dir, home / "run.yml", home / "back", Export(home / "0" / "tokenizer"))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (home / "back" / name).read_bytes() == (home / "model" / name).read_bytes()
    before, after = (held_out_loss(home, home / name) for name in ("model", "back"))
    assert after < before - 1
    tokenizer = AutoTokenizer.from_pretrained(home / "back")
    model = AutoModelForCausalLM.from_pretrained(home / "back")
    prompt = tokenizer("12 + 30 =", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt["input_ids"].shape[1]


def test_the_start_is_recorded(home, losses) -> None:
    (begun,) = run.starts({"base_output_directory": str(home), "run_name": "run"})
    record = json.loads((home / "0" / "to_maxtext.json").read_text())
    assert begun.weights is not None
    assert begun.weights.model == "model"
    assert begun.weights.model_sha256 == record["model_sha256"]
    assert begun.outcome == "finished"
