"""The log-probabilities of sampled tokens are those with which they were sampled."""

import pytest

from sft.logprobs import METRIC, ROWS, recorded

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def model(model_dir):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_what_is_recorded_is_what_a_whole_forward_gives(model, cache) -> None:
    import torch

    prompts = torch.arange(20, 20 + 3 * (ROWS + 2)).reshape(ROWS + 2, 3)
    with recorded(model, TEMPERATURE) as kept:
        out = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=True, max_new_tokens=5,
            temperature=TEMPERATURE, top_k=0, eos_token_id=None, pad_token_id=0,
            cache_implementation=cache,
        )  # fmt: skip
    assert "generate" not in vars(model)
    # The second answer ended early; what was generated after its end is no part of it.
    completions = [row[3 : 5 if i == 1 else None].tolist() for i, row in enumerate(out)]
    found = kept.rows(completions)
    assert [len(row) for row in found] == [5, 2, *[5] * (ROWS - 2)]
    with torch.no_grad():
        logits = model(out).logits[:, 2:-1]
    for temperature, right in ((TEMPERATURE, True), (1.0, False)):
        every = (logits / temperature).log_softmax(-1).gather(-1, out[:, 3:, None])[..., 0]
        gaps = [abs(row - every[i, : len(row)]).max() for i, row in enumerate(found)]
        assert (float(max(gaps)) < 1e-4) == right
    assert METRIC.startswith("sampling/")
