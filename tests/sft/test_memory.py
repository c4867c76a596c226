"""The estimate of a step's memory: the parts that are exact, and the rows that fit."""

from types import SimpleNamespace

import pytest
from transformers import LlamaConfig

from sft import memory

CONFIG = LlamaConfig(
    vocab_size=32_000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
    num_attention_heads=16, num_key_value_heads=4, head_dim=128, tie_word_embeddings=False,
)  # fmt: skip
"""TinyMathReason-1B."""
WEIGHTS = 1_123_117_056


def estimate(optim="adamw_torch_fused", again=False, compiled=True, cards=(1, False), **model):
    training = SimpleNamespace(optim=optim, activation_checkpointing=again, max_length=4096)
    values = {
        "dtype": None, "load_in_4bit": False, "load_in_8bit": False, "use_peft": False,
        "lora_target_modules": None, "lora_r": 16,
    }  # fmt: skip
    return memory.estimate(
        CONFIG, training, SimpleNamespace(**{**values, **model}), compiled, *cards
    )


def test_weights_gradients_and_states_are_counted_exactly() -> None:
    full = estimate()
    embedding = 32_000 * 2048
    assert full.gradients == 4 * WEIGHTS
    assert full.states == 8 * WEIGHTS
    # Norms and the embedding have no copy in bfloat16.
    assert full.weights == 4 * WEIGHTS + 2 * (WEIGHTS - embedding - 45 * 2048)
    assert estimate("paged_adamw_32bit").states == 0
    # transformers keeps the embedding's states in float32.
    assert estimate("adamw_bnb_8bit").states == 2 * (WEIGHTS - embedding) + 8 * embedding
    assert estimate("adamw_torch_8bit").states == 2 * WEIGHTS
    assert estimate(dtype="bfloat16").weights == 2 * WEIGHTS


def test_an_adapter_trains_few_weights() -> None:
    adapter = estimate(use_peft=True, lora_target_modules=["q_proj", "v_proj"], lora_r=8)
    # q is 2048 x 2048, v is 2048 x 512, in 22 layers.
    assert adapter.gradients == 4 * 22 * 8 * ((2048 + 2048) + (2048 + 512))
    everything = estimate(use_peft=True, lora_target_modules="all-linear", lora_r=8)
    assert adapter.gradients < everything.gradients < 0.02 * estimate().gradients


def test_computing_again_keeps_one_number_of_each_layer() -> None:
    assert estimate(again=True).row == 4096 * 22 * 4 * 2048
    assert estimate(again=True).row < estimate().row / 3
    assert estimate(compiled=False).row > estimate().row


@pytest.mark.parametrize(("free", "rows"), [(141e9, 8), (79e9, 8), (48e9, 4), (24e9, 1), (8e9, 1)])
def test_rows_are_halved_until_they_fit(free, rows) -> None:
    found = memory.fit(estimate(), 8, free)
    assert found == rows
    assert ("if it does not fit" in memory.summary(estimate(), found, free)) == (free < 26e9)
    assert memory.fit(estimate(), 3, 1e9) == 3


def test_each_of_several_cards_has_the_whole_model_or_its_share() -> None:
    alone, whole, share = estimate(), estimate(cards=(8, False)), estimate(cards=(8, True))
    assert (whole.weights, whole.states, whole.row) == (alone.weights, alone.states, alone.row)
    assert whole.gathered == 4 * WEIGHTS, "copies of the gradients are sent"
    assert (share.gradients, share.states) == (alone.gradients / 8, alone.states / 8)
    assert share.weights == 4 * WEIGHTS / 8
    # Two layers, and what is outside of them, in bfloat16 with their gradients.
    layer = 2048 * (2048 * 2 + 512 * 2 + 5632 * 3) + 2 * 2048
    assert share.gathered == 4 * (2 * layer + 2 * 32_000 * 2048 + 2048)
    assert share.total(8) < alone.total(8) < whole.total(8)
    assert "between cards 4.5" in memory.summary(whole, 8, 80e9)


def test_the_launcher_or_an_option_says_what_is_sharded(monkeypatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED", raising=False)
    plain = SimpleNamespace(fsdp=None)
    assert not memory.sharded(plain)
    assert not memory.unknown()
    assert memory.sharded(SimpleNamespace(fsdp="full_shard"))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert memory.sharded(plain)
    assert memory.unknown()
