"""Rows of new tokens are the mean of the old ones, which stay as they are."""

import pytest

from sft.embeddings import add_rows

ROWS = 12
"""Rows of the model; its tokenizer has ten tokens, the last two rows are padding."""


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("ids", [[10], [10, 12], [13]], ids=["padding", "both", "beyond"])
def test_new_rows_are_the_mean_of_the_old(tied, ids) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)

    def weights():
        return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]

    before = [weight.detach().clone() for weight in weights()]
    add_rows(model, ids)
    rows = max(ROWS, max(ids) + 1)
    kept = [row for row in range(ROWS) if row not in ids]
    for old, new in zip(before, weights(), strict=True):
        assert new.shape == (rows, 8)
        assert new[kept].equal(old[kept])
        for row in ids:
            assert torch.allclose(new[row], old[kept].mean(0), atol=1e-7)
    assert (weights()[0] is weights()[1]) == tied
    assert model.config.vocab_size == rows
    assert model(torch.tensor([ids])).logits.shape == (1, len(ids), rows)
