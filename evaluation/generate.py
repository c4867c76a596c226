"""Answers questions greedily, in batches of prompts of similar length."""

import itertools
from pathlib import Path
from typing import Any, Self

from evaluation import decoding, model
from tinymathreason.arithmetic import plain_problem
from tinymathreason.chat import Chat
from tinymathreason.chatml import conversation


class Generator:
    """A causal language model and its tokenizer, ready to answer questions.

    ``form`` is the form of the prompts: ``chat``, by the tokenizer's template, or ``plain``, as in
    the pretraining documents. The default is ``chat`` if there is a template. Raises `InputError`
    when ``model_dir`` has no usable model, or no template for ``chat``.
    """

    def __init__(self, model_dir: Path, form: str | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model.check_folder(model_dir)
        self.tokenizer: Any = model.load_tokenizer(model_dir)
        self.form = model.check_form(self.tokenizer, form, model_dir)
        device, dtype = model.device_and_dtype()
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=getattr(torch, dtype), use_safetensors=True
        ).to(device)
        model.check_rows(self.model, self.tokenizer, model_dir)

    @classmethod
    def of(cls, live: Any, tokenizer: Any, form: str) -> Self:
        """A generator of a loaded model and its tokenizer, which pads on the left."""
        generator = cls.__new__(cls)
        generator.model, generator.tokenizer, generator.form = live, tokenizer, form
        return generator

    def prompts(self, questions: list[str]) -> list[list[int]]:
        """The token ids of the prompt of each question."""
        if self.form == "chat":
            chat = Chat(self.tokenizer, self.tokenizer.chat_template)
            return [e.ids for e in chat.encode([conversation(q) for q in questions], prompt=True)]
        texts = [plain_problem(question, "") for question in questions]
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    def answer(
        self, questions: list[str], max_new_tokens: int, batch_size: int, quiet: bool = False
    ) -> list[str]:
        """Greedy completions, without special tokens, in the order of the questions.

        A bar shows the progress unless ``quiet``.
        """
        import torch
        from tqdm import tqdm

        ends = decoding.stop_ids(self.model, self.tokenizer, self.form)
        ours = decoding.own(ends, self.tokenizer.pad_token_id, max_new_tokens=max_new_tokens)
        encoded = [{"input_ids": ids} for ids in self.prompts(questions)]
        # Longest first: batches have little padding, and memory runs out in the first one or never.
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]["input_ids"]))
        answers = [""] * len(questions)
        with tqdm(total=len(questions), desc="problems", disable=quiet) as progress:
            for batch in itertools.batched(order, batch_size):
                inputs = self.tokenizer.pad([encoded[i] for i in batch], return_tensors="pt")
                inputs = inputs.to(self.model.device)
                with torch.inference_mode(), decoding.by(self.model, ours):
                    tokens = self.model.generate(**inputs)
                new = tokens[:, inputs["input_ids"].shape[1] :]
                texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
                for i, text in zip(batch, texts, strict=True):
                    answers[i] = text.strip()
                progress.update(len(batch))
        return answers
