"""A tuned model and questions in; its answers by chance, as token-exact texts, out."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinymathreason.chatml import IM_END, conversation

if TYPE_CHECKING:
    from sft.config import Sampling
    from tinymathreason.chat import Chat


@dataclass(frozen=True, slots=True)
class Sample:
    """What the model said to a problem."""

    text: str
    """The completion, without the token that ends it."""
    flaw: str | None = None
    """``unended``: no stop token. ``inexact``: the text has other tokens than those the model said,
    as when it said a control token. Neither is half of a pair: the template puts a stop token
    behind every answer, so that an unended chosen one would be cut short, and an unended rejected
    one would teach not to stop there."""


class Sampler:
    """A tuned model that answers by chance; `InputError` when ``folder`` holds no model."""

    def __init__(self, folder: Path, chat: "Chat", sampling: "Sampling") -> None:
        from evaluation import decoding
        from evaluation.generate import Generator

        self._chat, self._samples, tokenizer = chat, sampling.samples, chat.tokenizer
        self._stop = tokenizer.convert_tokens_to_ids(IM_END)
        self._model = Generator(folder, "plain").model
        ends = decoding.stop_ids(self._model, tokenizer, "chat")
        self._ends = {*ends, tokenizer.pad_token_id}
        asked = decoding.ignored(self._model.generation_config)
        if told := decoding.note(folder, asked):
            print(told, flush=True)
        self._model.generation_config = decoding.own(
            ends,
            tokenizer.pad_token_id,
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,  # the library's default draws from 50 tokens
            num_return_sequences=sampling.samples,
            max_new_tokens=sampling.max_new_tokens,
        )

    def __call__(self, questions: Sequence[str], seed: int) -> list[list[Sample]]:
        """The samples of every question; the same for the same questions and seed."""
        import torch

        prompts = [e.ids for e in self._chat.encode([conversation(q) for q in questions], True)]
        inputs = self._chat.tokenizer.pad(
            {"input_ids": prompts}, padding_side="left", return_tensors="pt"
        ).to(self._model.device)
        torch.manual_seed(seed)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs)
        rows = iter(tokens[:, inputs["input_ids"].shape[1] :].tolist())
        return [[self._read(q, next(rows)) for _ in range(self._samples)] for q in questions]

    def _read(self, question: str, ids: list[int]) -> Sample:
        """A row of new tokens, padded after its end, as a sample."""
        said = list(itertools.takewhile(lambda i: i not in self._ends, ids))
        text = self._chat.tokenizer.decode(said, skip_special_tokens=False)
        if ids[len(said) : len(said) + 1] != [self._stop]:
            return Sample(text, "unended")
        exact = tokens(self._chat, question, text)[1] == [*said, self._stop]
        return Sample(text, None if exact else "inexact")


def tokens(chat: "Chat", question: str, text: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, and of an answer to it with its stop token."""
    encoded = chat.encode([conversation(question, text)])[0]
    start = encoded.assistant_mask.index(True)
    return encoded.ids[:start], list(itertools.compress(encoded.ids, encoded.assistant_mask))
