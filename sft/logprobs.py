"""The log-probabilities with which answers were sampled, and how far the trainer's are from them.

Both come from the same weights. They differ by rounding, since the sampler reads a cache token by
token, and by more if one of the two has a fault. The loss takes them for equal.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

EVERY = 10
"""Optimiser steps from one measurement of the gap to the next."""
ROWS = 8
"""Answers that are measured."""
METRIC = "sampling/sampling_logp_difference"
"""The name under which TRL logs the gap where vLLM samples."""


class Recorder:
    """A logits processor that keeps the log-probability of each token that is sampled.

    It looks at the first `ROWS` rows and changes nothing. transformers calls it before it divides
    by the ``temperature``.
    """

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self._last: Any = None
        self._taken: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores as they are: float[rows, vocabulary]."""
        self._take(input_ids[:ROWS, -1])
        self._last = (scores[:ROWS].float() / self._temperature).log_softmax(-1)
        return scores

    def _take(self, tokens: Any) -> None:
        """Keep the log-probabilities of the tokens that were sampled by the last scores."""
        if self._last is not None:
            self._taken.append(self._last.gather(-1, tokens[:, None]))

    def rows(self, completions: Sequence[Sequence[int]]) -> list[Any]:
        """The log-probabilities of the tokens of each recorded completion: float[tokens]."""
        import torch

        steps = len(self._taken)
        newest = [row[steps] if len(row) > steps else 0 for row in completions[:ROWS]]
        self._take(torch.tensor(newest, device=self._last.device))
        taken = torch.cat(self._taken, dim=-1)
        return [taken[i, : len(row)] for i, row in enumerate(completions[:ROWS])]


@contextlib.contextmanager
def recorded(model: Any, temperature: float) -> Iterator[Recorder]:
    """Record what ``model.generate`` samples in the block."""
    from transformers import LogitsProcessorList

    recorder = Recorder(temperature)
    generate = model.generate

    def recording(*args: Any, **kwargs: Any) -> Any:
        return generate(*args, logits_processor=LogitsProcessorList([recorder]), **kwargs)

    model.generate = recording
    try:
        yield recorder
    finally:
        del model.generate


class LogsGap:
    """Mixed into TRL's GRPOTrainer: logs the gap every `EVERY` steps, where transformers samples.

    It is the mean and the largest absolute difference of the log-probabilities of the tokens of
    `ROWS` answers, under TRL's name for that of vLLM.
    """

    def _generate_single_turn(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        generate = super()._generate_single_turn  # type: ignore[misc]
        elsewhere = self.use_vllm or self.use_transformers_continuous_batching
        if elsewhere or self.state.global_step % EVERY:
            return generate(prompt_ids, *args, **kwargs)
        with recorded(self.accelerator.unwrap_model(self.model_wrapped), self.temperature) as kept:
            completions, logprobs = generate(prompt_ids, *args, **kwargs)
        pairs = zip(prompt_ids, completions, kept.rows(completions), strict=False)
        gaps = [abs(sampled - self._trained(*ids)) for *ids, sampled in pairs]
        metrics = self._metrics["train" if self.model.training else "eval"]
        tokens = sum(map(len, gaps))
        metrics[f"{METRIC}/mean"].append(float(sum(gap.sum() for gap in gaps)) / tokens)
        metrics[f"{METRIC}/max"].append(max(float(gap.max()) for gap in gaps))
        return completions, logprobs

    def _trained(self: Any, prompt: Sequence[int], completion: Sequence[int]) -> Any:
        """The trainer's log-probabilities of the tokens of a completion: float[tokens]."""
        import torch
        from trl.models.utils import disable_gradient_checkpointing

        ids = torch.tensor([[*prompt, *completion]], device=self.accelerator.device)
        options = self.args.gradient_checkpointing_kwargs
        with torch.no_grad(), disable_gradient_checkpointing(self.model, options):
            found = self._get_per_token_logps_and_entropies(
                self.model, ids, torch.ones_like(ids), len(completion)
            )
        return found[0][0]
