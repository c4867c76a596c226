"""Packed conversations do not see one another, and cost what they cost alone."""

import contextlib
import random
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import AttentionInterface, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from sft import isolation
from tinymathreason.cli import InputError

pytestmark = [
    pytest.mark.processor,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]

LENGTH = 96


@pytest.fixture(scope="module")
def examples() -> list[dict[str, list[int]]]:
    """Random ids of many lengths; the loss sees the second half."""
    draw = random.Random(0)
    found = []
    for _ in range(40):
        ids = draw.choices(range(4, 320), k=draw.randint(4, 60))
        labels = [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]
        found.append({"input_ids": ids, "labels": labels})
    return found


@pytest.fixture(params=["sdpa", "eager"])
def model(model_dir, request):
    name = request.param
    return AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation=name).eval()


def pack(examples) -> Dataset:
    return pack_dataset(Dataset.from_list(examples), LENGTH, "bfd")


def logits(model, batch):
    with torch.no_grad():
        return model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False).logits


def collate(rows, packed: bool = True):
    return DataCollatorForLanguageModeling(0, padding_free=packed)(rows)


def test_a_changed_conversation_changes_no_logit_of_another(model, examples) -> None:
    packed = pack(examples)
    row = max(packed, key=lambda row: len(row["seq_lengths"]))
    lengths = row["seq_lengths"]
    assert len(lengths) > 2
    before = logits(model, collate([row]))[0].split(lengths)
    for changed in range(len(lengths)):
        start = sum(lengths[:changed])
        ids = list(row["input_ids"])
        ids[start : start + lengths[changed]] = [9] * lengths[changed]
        after = logits(model, collate([{**row, "input_ids": ids}]))[0].split(lengths)
        for other in range(len(lengths)):
            difference = (after[other] - before[other]).abs().max().item()
            assert difference == 0.0 if other != changed else difference > 1e-3


def loss(model, batches) -> tuple[float, int]:
    """Sum of the targets' losses, and how many targets there are."""
    total, count = 0.0, 0
    for batch in batches:
        targets = batch["labels"][:, 1:].flatten()
        values = logits(model, batch)[:, :-1].flatten(0, 1).double()
        total += torch.nn.functional.cross_entropy(values, targets, reduction="sum").item()
        count += int((targets != -100).sum())
    return total, count


def test_the_loss_is_that_of_unpacked_conversations(model, examples) -> None:
    rows = list(pack(examples))
    assert len(rows) < len(examples) / 2
    packed, targets = loss(model, [collate(rows[i : i + 3]) for i in range(0, len(rows), 3)])
    alone, same = loss(
        model, [collate(examples[i : i + 8], packed=False) for i in range(0, len(examples), 8)]
    )
    assert targets == same
    assert packed / targets == pytest.approx(alone / same, abs=1e-6)


def test_packing_loses_nothing_and_is_the_same_every_time(examples) -> None:
    packed = pack(examples)
    assert packed[:] == pack(examples)[:]
    found = []
    for row in packed:
        assert len(row["input_ids"]) <= LENGTH
        start = 0
        for length in row["seq_lengths"]:
            part = slice(start, start + length)
            found.append({"input_ids": row["input_ids"][part], "labels": row["labels"][part]})
            start += length
    assert sorted(found, key=str) == sorted(examples, key=str)


def trainer(model):
    accelerator = SimpleNamespace(autocast=contextlib.nullcontext, device=torch.device("cpu"))
    collator = DataCollatorForLanguageModeling(0, padding_free=True)
    args = SimpleNamespace(activation_checkpointing=False)
    return SimpleNamespace(model=model, data_collator=collator, accelerator=accelerator, args=args)


def test_the_check_passes_attention_that_separates(model) -> None:
    model.train()
    state = torch.get_rng_state()
    isolation.check_isolation(trainer(model))
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_the_check_refuses_attention_that_does_not(model_dir) -> None:
    # It has no entry among the masks: transformers then leaves separation to it.
    AttentionInterface.register("leaky", sdpa_attention_forward)
    model = AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation="leaky")
    with pytest.raises(InputError, match=r"attn_implementation leaky: .* would see one another"):
        isolation.check_isolation(trainer(model))
