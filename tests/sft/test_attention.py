"""The attention of packed rows: chosen by the hardware, equal to sdpa, and without a mask."""

import collections
import contextlib
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head

from sft import attention, checks, compiled, isolation
from sft.run import Sft
from sft.speed import MeasuresLater
from tests.support import varlen
from tinymathreason.cli import InputError

pytestmark = [
    pytest.mark.processor,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]

LENGTHS = [5, 17, 1, 9]


@pytest.fixture
def model(model_dir):
    """The small model with varlen attention, on a stand-in for its kernels."""
    varlen.install()
    varlen.calls.clear()
    with attention.registered():
        yield AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation="varlen")


def collator(fixed: int | None = None):
    made = DataCollatorForLanguageModeling(0, padding_free=True)
    return compiled.FixedLength(made, fixed, 0) if fixed else made


def packed(fixed: int | None = None, lengths=LENGTHS):
    ids = torch.randint(4, 320, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    labels = [-100 if i % 3 == 0 else token for i, token in enumerate(ids.tolist())]
    row = {"input_ids": ids.tolist(), "labels": labels, "seq_lengths": lengths}
    return collator(fixed)([row])


def run(model, batch):
    """Logits, loss, and the gradient of every weight."""
    model.zero_grad()
    labels = batch["labels"]
    output = model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False)
    loss = torch.nn.functional.cross_entropy(output.logits[0, :-1], labels[0, 1:])
    loss.backward()
    return output.logits.detach(), loss.item(), [p.grad.clone() for p in model.parameters()]


def test_logits_loss_and_gradients_are_those_of_sdpa(model) -> None:
    logits, loss, gradients = run(model, packed())
    model.set_attn_implementation("sdpa")
    expected, same, others = run(model, packed())
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=0)
    assert loss == pytest.approx(same, abs=1e-6)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-3)


def test_the_kernel_gets_the_bounds_of_each_conversation(model) -> None:
    config = model.config
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run(model, packed())
    assert len(varlen.calls) == config.num_hidden_layers
    width = config.head_dim
    for call in varlen.calls:
        assert call == {
            "starts": [0, 5, 22, 23, 32], "same": True, "max": 17,
            "causal": True, "scale": width**-0.5, "window": [-1, 0], "gqa": True,
            "dtype": torch.bfloat16,
            "shapes": (
                (32, config.num_attention_heads, width), (32, config.num_key_value_heads, width)
            ),
        }  # fmt: skip


# Where warnings are errors, torch.compile fails at one that it hides.
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_layers_compute_the_same_and_are_made_once(model) -> None:
    batches = [packed(40, lengths) for lengths in (LENGTHS, [20, 12], [3, 4, 5, 6, 7, 8])]
    expected = [run(model, batch) for batch in batches]
    assert compiled.compile_layers(model, backend="aot_eager") == model.config.num_hidden_layers
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    # One program for all layers, and another one for any number of conversations.
    for batch, (logits, _, gradients), programs in zip(batches, expected, (1, 2, 2), strict=True):
        found = run(model, batch)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == programs
        torch.testing.assert_close(found[0], logits, atol=2e-5, rtol=0)
        for gradient, other in zip(found[2], gradients, strict=True):
            torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-3)
    assert not torch._dynamo.utils.counters["graph_break"]
    torch.compiler.reset()


def trainer(model, fixed: int | None = None, again: bool = False):
    accelerator = SimpleNamespace(autocast=contextlib.nullcontext, device=torch.device("cpu"))
    args = SimpleNamespace(activation_checkpointing=again, activation_checkpointing_kwargs=None)
    return SimpleNamespace(
        model=model, data_collator=collator(fixed), accelerator=accelerator, args=args
    )


@pytest.mark.parametrize("layers_compiled", [False, True])
def test_the_check_runs_the_attention_itself(model, layers_compiled) -> None:
    if layers_compiled:
        compiled.compile_layers(model, backend="eager")
    fixed = 32 if layers_compiled else None
    state = torch.get_rng_state()
    isolation.check_isolation(trainer(model, fixed))
    assert model.training is False
    assert model.config._attn_implementation == "varlen"
    assert varlen.calls
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    varlen.install(leaky=True)
    torch.compiler.reset()
    with pytest.raises(InputError, match=r"attn_implementation varlen: .* would see one another"):
        isolation.check_isolation(trainer(model, fixed))


@pytest.mark.parametrize("again", [False, True])
def test_the_check_needs_no_more_memory_than_a_step(model, again) -> None:
    isolation.check_isolation(trainer(model, again=again))
    # Three runs, and in the backward pass of the last one each layer once more.
    assert len(varlen.calls) == (4 if again else 3) * model.config.num_hidden_layers
    assert not any(module.training for module in model.modules())


def test_logits_unlike_those_of_sdpa_are_refused(model, monkeypatch) -> None:
    attend = varlen.attend
    monkeypatch.setattr(
        varlen, "attend", lambda *inputs: attend(*inputs[:5], inputs[5] * 9, *inputs[6:])
    )
    with pytest.raises(InputError, match="logits differ from those with sdpa"):
        isolation.check_isolation(trainer(model))


def test_sharded_weights_are_checked_on_a_small_model_of_the_class(model) -> None:
    made = trainer(model)
    made.accelerator.device = torch.device("meta")
    state = torch.get_rng_state()
    small = isolation._small(model, torch.device("cpu"))
    assert type(small) is type(model)
    assert len(small.model.layers) == 1
    assert small.config._attn_implementation == "varlen"
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_that_is_not_packed_is_refused_and_answers_use_sdpa(model) -> None:
    ids = torch.tensor([[5, 6, 7], [0, 8, 9]])
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match="takes packed rows"):
        model(input_ids=ids, attention_mask=mask)
    with attention.plain(model):
        answer = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=2)
    assert answer.shape == (2, 5)
    assert model.config._attn_implementation == "varlen"


def test_filling_up_adds_no_target_and_no_conversation() -> None:
    batch, plain = packed(48), packed()
    assert batch["input_ids"].shape == batch["position_ids"].shape == (1, 48)
    assert batch["seq_idx"][0, -1] == len(LENGTHS)
    assert batch["cu_seq_lens_q"].tolist() == [0, 5, 22, 23, 32, 48]
    assert batch["max_length_q"] == 17
    assert (batch["labels"] != -100).sum() == (plain["labels"] != -100).sum()
    assert list(checks.conversations(batch, 0)) == list(checks.conversations(plain, 0))
    assert packed(32).keys() == plain.keys()


def choice(monkeypatch, name=None, packing=True, device="cuda", capability=(9, 0), bf16=True,
           dtype=None, config=None):  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    training = SimpleNamespace(packing=packing, device=torch.device(device), bf16=bf16, fp16=False)
    model = SimpleNamespace(attn_implementation=name, dtype=dtype)
    return attention.choose(training, model, config or LlamaConfig())


def test_the_hardware_and_the_model_choose(monkeypatch) -> None:
    for name in (None, "auto", "varlen"):
        assert choice(monkeypatch, name) == attention.Choice("varlen")
    assert choice(monkeypatch, bf16=False, dtype="bfloat16").name == "varlen"
    assert choice(monkeypatch, "flash_attention_2").name == "flash_attention_2"
    assert choice(monkeypatch, packing=False) == attention.Choice(None)
    for reason, values in {
        "needs an NVIDIA GPU": {"device": "cpu"},
        "of Ampere or newer": {"capability": (7, 5)},
        "bf16: true": {"bf16": False},
        "heads of width 320": {"config": LlamaConfig(head_dim=320)},
        "no sliding_window": {"config": MistralConfig(sliding_window=64)},
        "no attention_dropout": {"config": LlamaConfig(attention_dropout=0.1)},
    }.items():
        found = choice(monkeypatch, **values)
        assert found.name is None
        assert reason in found.reason
        with pytest.raises(InputError, match=f"attn_implementation: varlen: .*{reason}"):
            choice(monkeypatch, "varlen", **values)
    with pytest.raises(InputError, match="set packing: true"):
        choice(monkeypatch, "varlen", packing=False)


@pytest.mark.parametrize("name", ["varlen", "flex_attention", None, "sdpa", "eager"])
def test_a_dense_mask_gets_one_row_at_a_time(name) -> None:
    training = SimpleNamespace(
        packing=True, per_device_train_batch_size=8, per_device_eval_batch_size=4,
        gradient_accumulation_steps=2, device=torch.device("cpu"),
    )  # fmt: skip
    rows = Sft()._rows(SimpleNamespace(training=training), attention.Choice(name))
    assert rows == (8 if name in ("varlen", "flex_attention") else 1)
    attention.split(training, rows)
    assert training.per_device_train_batch_size == rows
    assert training.gradient_accumulation_steps * rows == 16
    assert training.per_device_eval_batch_size == min(4, rows)


def test_the_loss_and_its_measurements_are_those_of_trl(model) -> None:
    class Trainer(MeasuresLater, SFTTrainer):
        applies = None

    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    found = []
    for ours in (True, False):
        trainer = object.__new__(Trainer)
        accelerator = SimpleNamespace(
            gather_for_metrics=lambda tensor: tensor, parallelism_config=None, num_processes=1
        )
        vars(trainer).update(
            model=model.train(), accelerator=accelerator, label_smoother=None,
            compute_loss_func=None, aux_loss_enabled=False, _tp_size=1, _total_train_tokens=0,
            args=SimpleNamespace(loss_type="nll", average_tokens_across_devices=False),
            _metrics={"train": collections.defaultdict(list)},
            applies=lambda inputs, ours=ours: ours,
        )  # fmt: skip
        loss = trainer.compute_loss(model, packed(), num_items_in_batch=torch.tensor(50))
        metrics = {key: float(*values) for key, values in trainer._metrics["train"].items()}
        found.append({"loss": loss.item(), **metrics})
    assert found[0] == pytest.approx(found[1])
    assert found[0].keys() == {"loss", "entropy", "mean_token_accuracy", "num_tokens"}


@pytest.fixture
def session(monkeypatch, model_dir):
    """A session on a device that has varlen attention, as far as one can tell before."""
    monkeypatch.setattr(attention, "_obstacle", lambda *_: "")
    training = SimpleNamespace(
        packing=True, distributed_state=SimpleNamespace(is_main_process=False)
    )
    model = SimpleNamespace(
        model_name_or_path=str(model_dir), model_revision="main", attn_implementation="auto"
    )
    settings = SimpleNamespace(training=training, model=model)
    return SimpleNamespace(settings=settings, resources=contextlib.ExitStack())


def test_an_attention_that_fails_on_the_device_gives_way(monkeypatch, session) -> None:
    tried, cudnn = [], []

    def make(self, session, examples, choice):
        tried.append(choice)
        cudnn.append(torch.backends.cuda.cudnn_sdp_enabled())
        if choice.name == "varlen":
            raise RuntimeError("no kernel image\nis available")
        return "trainer"

    monkeypatch.setattr(Sft, "_trainer", make)
    assert Sft().make_trainer(session, None) == "trainer"
    assert tried == [attention.Choice("varlen"), attention.Choice(None, "no kernel image")]
    assert cudnn == [False, True], "the other attention may use cuDNN's"
    session.settings.model.attn_implementation = "varlen"
    with pytest.raises(InputError, match="attn_implementation: varlen: no kernel image"):
        Sft().make_trainer(session, None)


def test_the_attention_serves_until_the_run_ends(monkeypatch, session) -> None:
    monkeypatch.setattr(Sft, "_trainer", lambda *_: "trainer")
    with session.resources:
        Sft().make_trainer(session, None)
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_a_torch_without_grouped_queries_is_told(monkeypatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", lambda query, key, value: None)
    assert "has no variable-length attention of grouped queries" in choice(monkeypatch).reason
