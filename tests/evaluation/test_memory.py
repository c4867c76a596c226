"""The rows of a batch follow from a model's shape and the free memory."""

import dataclasses

import pytest

from evaluation.memory import MOST, SHARE, Rows, halving, rows_of, sizes_of
from tinymathreason.llama import LlamaSizes

SIZES = LlamaSizes(
    layers=22, hidden=2048, heads=16, kv_heads=4, head_dim=128, mlp=5632, vocab=32_000, context=4096
)
"""Those of the 1B model."""


def test_a_cache_grows_by_the_keys_and_values_of_every_layer() -> None:
    rows = Rows(SIZES, 0, 2)
    layer = 2 * 16 * 128 * 2 + 2 * 4 * 128 * 2  # one layer's, repeated and copied
    grown = rows.row_bytes(1, 513) - rows.row_bytes(1, 512)
    assert grown == 22 * 2 * 4 * 128 * 2 + layer == 45_056 + 10_240


@pytest.mark.parametrize(("prompt", "new", "choices"), [(300, 256, 0), (1800, 256, 0), (700, 0, 1)])
def test_what_fits_needs_no_more_than_the_share_of_the_free_memory(prompt, new, choices) -> None:
    previous = 0
    for free in (10**8, 10**9, 2 * 10**10, 7 * 10**10):
        rows = Rows(SIZES, free, 2)
        fit = rows.fit(prompt, new, bool(choices))
        assert previous <= fit <= MOST
        assert fit == 1 or fit * rows.row_bytes(prompt, new, bool(choices)) <= SHARE * free
        assert fit < 8 or fit % 8 == 0
        previous = fit
    assert previous > 64


def test_longer_prompts_wider_numbers_and_all_logits_need_more() -> None:
    rows = Rows(SIZES, 0, 2)
    usual = rows.row_bytes(300, 256)
    assert usual < rows.row_bytes(301, 256)
    assert usual < rows.row_bytes(300, 257)
    assert 1.8 * usual < dataclasses.replace(rows, width=4).row_bytes(300, 256)
    assert rows.row_bytes(556, 0) + 556 * 32_000 * 10 == rows.row_bytes(556, 0, choices=True)


def test_a_loaded_model_has_its_sizes_and_no_rows_on_a_cpu() -> None:
    from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    found = sizes_of(config)
    assert found is not None
    assert (found.kv_heads, found.head_dim, found.mlp) == (1, 4, 24)
    assert sizes_of(GPT2Config()) is None
    assert rows_of(LlamaForCausalLM(config)) is None


@pytest.mark.parametrize("room", [1, 2, 3, 7])
def test_items_that_do_not_fit_are_asked_in_halves_and_in_order(room) -> None:
    import torch

    asked = []

    def ask(items):
        if len(items) > room:
            raise torch.OutOfMemoryError
        asked.append(len(items))
        return [item * 2 for item in items]

    assert halving(list(range(7)), ask) == list(range(0, 14, 2))
    assert max(asked) <= room
    with pytest.raises(torch.OutOfMemoryError):
        halving([1], lambda items: ask([*items] * 10))
