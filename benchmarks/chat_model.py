"""A chat model with random weights, for the benchmarks of answering: its shape decides the time.

Its answers are as long as they may be, which is the slowest case: it hardly ever ends one itself.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conversion.architecture import Architecture
from pretrain import overlay

SIZES = {
    "cuda": Path("maxtext_configs/tinymathreason_1b_gpu.yml"),
    "cpu": Path("maxtext_configs/quickstart.yml"),
}
"""The overlay with the model's sizes, by the device."""
ENTRIES = 4096
"""Most entries of the tokenizer; the model has as many rows as its overlay says."""
QUESTIONS = Path("gsm8k") / "test.jsonl"
"""The questions in the folder of `make realdata`."""


def questions(data: Path | None, count: int) -> list[str]:
    """``count`` questions: GSM8K's, repeated if there are fewer, or made word problems."""
    from sft.config import TuningData
    from sft.examples import read
    from tinymathreason.config import build

    source: dict[str, Any] = {"format": "arithmetic", "examples": count}
    if data is not None:
        source = {"format": "jsonl", "path": str(data / QUESTIONS)}
    known = [e.question for e in read(build(TuningData, {"sources": {"made": source}}, "made"))]
    return [known[i % len(known)] for i in range(count)]


def write(folder: Path, sizes: Path, device: str, texts: list[str]) -> int:
    """Write the model and a tokenizer that was trained on ``texts``; the number of parameters."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from data_prep import tokenizer
    from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS, TEMPLATE

    values = overlay.load(sizes)
    entries = min(ENTRIES, values["vocab_size"])
    tokenizer.save(tokenizer.train(iter(texts), entries, exactly=False), folder)
    shutil.copy(TEMPLATE, folder / "chat_template.jinja")
    shape = Architecture.from_maxtext(values)
    ends = SPECIAL_TOKENS.index(EOS), SPECIAL_TOKENS.index(PAD)
    dtype = "bfloat16" if device == "cuda" else "float32"
    described = LlamaConfig(**shape.hf_config(*ends, dtype))
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    return shape.parameters


def peak_gb(device: str) -> float | None:
    """The most GPU memory that tensors have had since the last call; None on a CPU."""
    import torch

    if device != "cuda":
        return None
    peak = float(torch.cuda.max_memory_allocated()) / 1e9
    torch.cuda.reset_peak_memory_stats()
    return round(peak, 2)


def describe(device: str) -> dict[str, str]:
    """The device of a line; `InputError` when there is no GPU for ``cuda``."""
    from benchmarks.card import smi

    return {"device": smi("name") if device == "cuda" else "cpu"}


@contextlib.contextmanager
def opened(arguments: Any, home: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folder of the model of a benchmark's ``arguments``, and questions; ``home`` is emptied.

    The arguments are ``device``, ``data``, ``model`` and ``overlay``. On a CPU the model runs on
    the CPU, also where there is a GPU.
    """
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks for devices
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    prompts = questions(arguments.data, 1024)
    model = arguments.model
    if model is None:
        model = home / "model"
        sizes = arguments.overlay or SIZES[arguments.device]
        count = write(model, sizes, arguments.device, prompts)
        print(f"a made model of {count:,} parameters", file=sys.stderr)
    try:
        yield model, prompts
    finally:
        shutil.rmtree(home)


def longest(model: Path, prompts: list[str]) -> int:
    """Tokens of the longest prompt."""
    from evaluation.model import load_tokenizer
    from tinymathreason.chat import Chat
    from tinymathreason.chatml import conversation

    tokenizer = load_tokenizer(model)
    chat = Chat(tokenizer, tokenizer.chat_template)
    return max(len(e.ids) for e in chat.encode([conversation(q) for q in prompts], prompt=True))
