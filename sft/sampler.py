"""Samples a tuned model's answers, as texts whose tokens are exactly the sampled ones."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason.chatml import conversation

if TYPE_CHECKING:
    from sft.config import Sampling
    from tinymathreason.chat import Chat


ON_CPU = 128
"""Completions of a batch on a CPU."""
MOST = 2048
"""Most completions of a batch on a GPU."""
STATIC = 256
"""Most completions of a batch whose cache is static by default.

A step of few rows waits for the launch of its kernels, which compiling removes. A step of many rows
waits for the memory, where a static cache costs more: it is read to its end in every step, and the
compiled attention repeats it for each query head."""


def cache_kind(wanted: str, device: str, rows: int) -> str:
    """The cache of a batch of ``rows``: ``dynamic`` or ``static``; ``wanted`` may be ``auto``."""
    if wanted != "auto":
        return wanted
    return "static" if device == "cuda" and rows <= STATIC else "dynamic"


def batch_size(folder: Path, sampling: "Sampling", longest: int) -> int:
    """Completions of a batch for prompts of at most ``longest`` tokens.

    On a GPU it follows from the whole memory of the card, so that it is the same in every process.
    """
    import torch
    from transformers import AutoConfig

    from evaluation import memory

    if sampling.batch_size is not None:
        return sampling.batch_size
    if not torch.cuda.is_available():
        return ON_CPU
    sizes = memory.sizes_of(AutoConfig.from_pretrained(folder))
    if sizes is None:
        return ON_CPU
    total = torch.cuda.get_device_properties(0).total_memory
    width = torch.bfloat16.itemsize
    rows = memory.Rows(sizes, total - width * sizes.parameters, width)
    return rows.fit(longest, sampling.max_new_tokens, most=MOST)


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of the model to a problem."""

    text: str
    """The completion, without the token that ends it."""
    flaw: str | None = None
    """Why it cannot be in a pair. ``unended``: it does not end with the template's stop token.
    The template adds that to every answer, so a chosen one would look finished where it was cut,
    and a rejected one would teach the model not to stop there. ``inexact``: the text has other
    tokens than the model generated, for example because one of them was a control token."""


class Sampler:
    """Samples answers from a tuned model, in halves of a batch where memory runs out.

    Raises `InputError` if ``folder`` contains no model.
    """

    def __init__(self, folder: Path, chat: "Chat", sampling: "Sampling") -> None:
        from evaluation import decoding
        from evaluation.generate import Generator

        self._chat, self._samples, tokenizer = chat, sampling.samples, chat.tokenizer
        self._stop = chat.stop
        self._model = Generator(folder, "plain").model
        ends = decoding.stop_ids(self._model, tokenizer, "chat")
        self._ends = {*ends, tokenizer.pad_token_id}
        ignored = decoding.ignored(self._model.generation_config)
        if note := decoding.note(folder, ignored):
            print(note, flush=True)
        self._model.generation_config = decoding.own(
            ends,
            tokenizer.pad_token_id,
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,  # the default restricts sampling to 50 tokens
            num_return_sequences=sampling.samples,
            max_new_tokens=sampling.max_new_tokens,
        )
        self._cache = sampling.cache
        self._together = 0
        self.generated = 0
        """Tokens of the last answers, without padding."""

    def __call__(self, questions: Sequence[str], seed: int) -> list[list[Sample]]:
        """The samples of every question; equal questions and seeds give equal samples."""
        from evaluation.memory import halving

        self.generated = 0
        numbered = list(enumerate(questions))
        # A half has a seed of its own, by its first question.
        return halving(numbered, lambda part: self._sample([q for _, q in part], seed + part[0][0]))

    def _sample(self, questions: list[str], seed: int) -> list[list[Sample]]:
        import torch

        device = self._model.device
        kind = cache_kind(self._cache, device.type, len(questions) * self._samples)
        batch = questions
        if kind == "static" and device.type == "cuda":
            # The step is compiled for one number of rows: the last batch is filled up to it.
            batch = questions + questions[-1:] * (self._together - len(questions))
        prompts = [e.ids for e in self._chat.encode([conversation(q) for q in batch], True)]
        inputs = self._chat.tokenizer.pad(
            {"input_ids": prompts}, padding_side="left", return_tensors="pt"
        ).to(device)
        self._model.generation_config.cache_implementation = kind
        torch.manual_seed(seed)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs)
        self._together = len(batch)
        new = tokens[: len(questions) * self._samples, inputs["input_ids"].shape[1] :]
        self.generated += int((new != self._chat.tokenizer.pad_token_id).sum())
        rows = iter(new.tolist())
        return [[self._read(q, next(rows)) for _ in range(self._samples)] for q in questions]

    def _read(self, question: str, ids: list[int]) -> Sample:
        """The sample in a row of generated token ids, which may have padding after its end."""
        answer = list(itertools.takewhile(lambda i: i not in self._ends, ids))
        text = self._chat.tokenizer.decode(answer, skip_special_tokens=False)
        if ids[len(answer) : len(answer) + 1] != [self._stop]:
            return Sample(text, "unended")
        exact = tokens(self._chat, question, text)[1] == [*answer, self._stop]
        return Sample(text, None if exact else "inexact")


def tokens(chat: "Chat", question: str, text: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, and of an answer to it with its stop token."""
    encoded = chat.encode([conversation(question, text)])[0]
    start = encoded.assistant_mask.index(True)
    return encoded.ids[:start], list(itertools.compress(encoded.ids, encoded.assistant_mask))
