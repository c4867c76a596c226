"""A hundred steps in MaxText equal those of a plain PyTorch loop, and errors would be noticed."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import torch_loop
from benchmarks.batches import batches
from benchmarks.training_parity import (
    TOLERANCE,
    compare,
    load_model,
    run_maxtext,
    weights_apart,
    write_config,
)
from conversion.architecture import Architecture
from data_prep.stages.records import encode, writer
from pretrain import overlay
from tests.support.checkpoints import save_tokenizer
from tinymathreason.chatml import EOS, SPECIAL_TOKENS
from tinymathreason.cli import InputError

pytestmark = [
    pytest.mark.processor,
    pytest.mark.xdist_group("maxtext"),
    pytest.mark.filterwarnings("ignore"),
]

STEPS, VOCABULARY, LENGTH, BATCH = 100, 320, 32, 8
OVERLAY = {
    "base_config": str(Path("maxtext_configs/quickstart.yml").resolve()),
    "base_emb_dim": 32,
    "head_dim": 8,
    "base_mlp_dim": 48,
    "base_num_decoder_layers": 2,
    "vocab_size": VOCABULARY,
    "max_target_length": LENGTH,
    "per_device_batch_size": BATCH,
    # Every batch has padding; with the overlays' own packing only the last one has.
    "grain_packing_type": "first_fit",
    "learning_rate": 0.02,
    "warmup_steps_fraction": 0.1,
    "lr_schedule_type": "wsd",
    "wsd_decay_steps_fraction": 0.5,
    "wsd_decay_style": "cosine",
    "gradient_clipping_threshold": 1.0,  # in about half of the steps
    "adam_weight_decay": 0.5,
    "adamw_mask": [".*norm.*"],
    "z_loss_multiplier": 1.0e-3,
}
"""A large rate and decay make differences visible."""


def write_mixture(folder):
    """Documents that count up from anywhere in steps of one to three, and their mixture.json."""
    rng = np.random.default_rng(0)
    first = len(SPECIAL_TOKENS)
    shard = writer(folder / "train-0.array_record")
    for length in rng.integers(4, LENGTH - 1, 6_000).tolist():
        counted = rng.integers(VOCABULARY) + rng.integers(1, 4) * np.arange(length)
        ids = first + counted % (VOCABULARY - first)
        shard.write(encode([*ids.tolist(), SPECIAL_TOKENS.index(EOS)]))
    shard.close()
    path = folder / "mixture.json"
    path.write_text(json.dumps({"counts": {"path": f"{folder}/train-*", "weight": 1.0}}))
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """With so little work, threads mostly wait for each other, especially on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("parity")
    save_tokenizer(VOCABULARY, path / "tokenizer")
    keys = {
        **OVERLAY,
        "grain_train_mixture_config_path": str(write_mixture(path)),
        "tokenizer_path": str(path / "tokenizer"),
    }
    (path / "requested.yml").write_text(json.dumps(keys))
    return path


@pytest.fixture(scope="module")
def run(home):
    """MaxText's hundred steps."""
    return run_maxtext(home, write_config(home, home / "requested.yml", STEPS, []))


@pytest.fixture(scope="module")
def data(run):
    return list(itertools.islice(batches(run.config), STEPS))


@pytest.fixture(scope="module")
def loop(run):
    """The same in PyTorch: the model, its steps and how far they are from MaxText's."""
    values = overlay.load(run.config)
    right = torch_loop.Hyperparameters.from_maxtext(values)

    def train(data, settings=right):
        model = load_model(run.initial)
        sizes = Architecture.from_maxtext(values)
        steps = [dataclasses.asdict(s) for s in torch_loop.train(model, data, settings, sizes)]
        return model, steps

    return right, train


def test_the_losses_are_the_same_at_every_step(run, data, loop) -> None:
    _, train = loop
    model, steps = train(data)
    figures = compare(run, steps)
    assert figures["within_tolerance"]
    assert figures["max_loss_difference"] < TOLERANCE / 20
    assert figures["max_gradient_norm_difference"] < 1e-3
    assert figures["max_rate_difference"] < 1e-5
    assert weights_apart(model, run) < 1e-3
    # The run covers what is compared: learning, clipping, padding, several documents per row.
    losses = [step["loss"] for step in run.metrics]
    assert len(losses) == STEPS
    assert losses[-1] < losses[0] - 2
    norms = [step["gradient_norm"] for step in run.metrics]
    assert 10 < sum(norm > OVERLAY["gradient_clipping_threshold"] for norm in norms) < 90
    assert {int((batch["inputs_segmentation"] == 0).any()) for batch in data} == {1}
    assert max(batch["inputs_segmentation"].max() for batch in data) > 2


class OneStepEarly(torch_loop.Hyperparameters):
    def rate(self, step: int) -> float:
        return super().rate(step + 1)


WRONG = {
    "not clipped": {"clip": 0.0},
    "clipped at another norm": {"clip": 0.9},
    "norms decayed": {"undecayed": ()},
    "embedding not decayed": {"undecayed": (".*norm.*", "embedding")},
    "not decayed": {"weight_decay": 0.0},
    "another second moment": {"beta2": 0.999},
    "no z-loss": {"z_loss": 0.0},
    "no warm-up": {"warmup_steps": 0},
    "decay on a line": {"linear_decay": True},
    "decay a step longer": {"decay_steps": STEPS // 2 + 1},
}


@pytest.mark.parametrize("kind", WRONG)
def test_other_settings_are_another_training(run, data, loop, kind) -> None:
    right, train = loop
    assert not compare(run, train(data, dataclasses.replace(right, **WRONG[kind]))[1])[
        "within_tolerance"
    ]


def test_a_schedule_one_step_early_is_another_training(run, data, loop) -> None:
    right, train = loop
    assert not compare(run, train(data, OneStepEarly(**dataclasses.asdict(right)))[1])[
        "within_tolerance"
    ]


def test_a_query_that_learns_like_the_others_is_another_training(
    run, data, loop, monkeypatch
) -> None:
    _, train = loop
    groups = torch_loop.parameter_groups

    def plain(model, settings, sizes):
        result = groups(model, settings, sizes)
        assert sorted({group["factor"] for group in result}) == [1.0, pytest.approx(8**0.5)]
        for group in result:
            if group["weight_decay"]:
                group["weight_decay"] = settings.weight_decay
        return [{**group, "factor": 1.0} for group in result]

    monkeypatch.setattr(torch_loop, "parameter_groups", plain)
    assert not compare(run, train(data)[1])["within_tolerance"]


def documents_together(batch):
    """Let attention cross the documents of a row."""
    return {**batch, "inputs_segmentation": np.minimum(batch["inputs_segmentation"], 1)}


def positions_halved(batch):
    """Give neighbouring tokens the same position."""
    return {**batch, "inputs_position": batch["inputs_position"] // 2}


def padding_learned(batch):
    """Include padding in the loss."""
    return {**batch, "targets_segmentation": np.ones_like(batch["targets_segmentation"])}


@pytest.mark.parametrize("change", [documents_together, positions_halved, padding_learned])
def test_batches_read_otherwise_are_another_training(run, data, loop, change) -> None:
    _, train = loop
    _, steps = train([change(batch) for batch in data])
    if change is padding_learned:
        with pytest.raises(RuntimeError, match="same batches"):
            compare(run, steps)
        for step, theirs in zip(steps, run.metrics, strict=True):
            step["tokens"] = theirs["tokens"]
    assert not compare(run, steps)["within_tolerance"]


def test_where_a_document_begins_to_count_does_not_matter(run, data, loop) -> None:
    """RoPE depends only on distances, and no token attends to another document."""
    _, train = loop
    columns = np.arange(LENGTH, dtype=np.int32)
    on = [
        {**batch, "inputs_position": np.tile(columns, (len(batch["inputs"]), 1))} for batch in data
    ]
    assert compare(run, train(on)[1])["max_loss_difference"] < TOLERANCE / 20


def test_a_nan_is_outside_the_tolerance(run) -> None:
    broken = [{**step, "loss": float("nan")} for step in run.metrics]
    assert not compare(run, broken)["within_tolerance"]


@pytest.mark.parametrize(
    ("override", "named"),
    [("learning_rte=1", "learning_rte"), ("warmup_steps_fraction=0.0", "warmup_steps_fraction")],
)
def test_wrong_input_is_reported(home, tmp_path, override: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        write_config(tmp_path, home / "requested.yml", STEPS, [override])


def test_what_the_loop_does_not_follow_is_refused(home) -> None:
    values = overlay.load(home / "requested.yml")
    with pytest.raises(InputError, match="gradient_accumulation_steps: 2"):
        torch_loop.Hyperparameters.from_maxtext({**values, "gradient_accumulation_steps": 2})


def test_a_failed_training_is_one_line(home, tmp_path) -> None:
    nowhere = "grain_train_mixture_config_path=/nowhere.json"
    config = write_config(tmp_path, home / "requested.yml", STEPS, [nowhere])
    with pytest.raises(InputError, match=r"no file /nowhere\.json"):
        run_maxtext(tmp_path, config)


def test_rates_are_upstreams() -> None:
    """For both schedules, with and without a tail of rate 0, by MaxText's own function."""
    from maxtext.configs import pyconfig
    from maxtext.utils.maxtext_utils import create_learning_rate_schedule

    for overrides in (
        {"lr_schedule_type": "cosine"},
        {"lr_schedule_type": "cosine", "learning_rate_schedule_steps": 40},
        {"lr_schedule_type": "wsd", "wsd_decay_style": "linear", "warmup_steps_fraction": 0.13},
        {"lr_schedule_type": "wsd", "wsd_decay_style": "cosine", "wsd_decay_steps_fraction": 0.3},
    ):
        values = {"steps": 60, "learning_rate_schedule_steps": 60, **overrides}
        words = [f"{key}={value}" for key, value in values.items()]
        path = Path("maxtext_configs/quickstart.yml")
        config = pyconfig.initialize(["", str(path), *words], log_config=False)
        expected = create_learning_rate_schedule(config)
        settings = torch_loop.Hyperparameters.from_maxtext(overlay.load(path, words))
        rates = [settings.rate(step) for step in range(60)]
        np.testing.assert_allclose(rates, [expected(step) for step in range(60)], atol=1e-8)


def test_clipping_sees_the_weights_as_maxtext_keeps_them() -> None:
    plain, query = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    plain.grad, query.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 2.0])
    groups = [{"params": [plain], "factor": 1.0}, {"params": [query], "factor": 2.0}]
    assert torch_loop.clip(groups, 0.0) == pytest.approx(5.0)
    assert torch_loop.clip(groups, 1.0) == pytest.approx(5.0)
    assert torch_loop.clip(groups, 1.0) == pytest.approx(1.0)
    assert plain.grad[0] == pytest.approx(0.6)
