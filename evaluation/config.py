"""The settings of one evaluation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvalConfig:
    """What is measured, and how the model is prompted."""

    task: str
    """A name of the catalogue."""
    data: str | None = None
    """A file of its problems, or a folder laid out as on the hub; None reads the hub."""
    limit: int | None = None
    """Take only this many problems of each lm-eval task; their variants do not count."""
    form: str | None = None
    """``chat`` or ``plain``; None uses the chat template where there is one."""
    shots: int | None = None
    """Worked examples before each problem; None takes the task's own number."""
    samples: int = 1
    """Answers to each problem; with more than one they are sampled."""
    temperature: float = 0.7
    """Sampling temperature; unused with one sample, which is decoded greedily."""
    max_new_tokens: int | None = None
    """Longest answer in tokens; None takes the task's own, at most half of the context."""
    backend: str = "transformers"
    """``transformers`` or ``vllm``."""
    batch_size: int | None = None
    """Prompts that are answered at once; None takes 64 on a CPU, and on a GPU as many as fit its
    memory."""
    seed: int = 0
    """Seed of the sampling, and of variants."""
