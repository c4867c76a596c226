"""Models in MaxText's layout with random weights, and tokenizers of any size for them."""

import dataclasses
import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import sentencepiece
import yaml

from conversion import orbax_writer
from conversion.architecture import Architecture
from conversion.mapping import DTYPES, hf_tensors, stored
from data_prep import tokenizer
from tinymathreason.arithmetic import fact_documents, problem_documents
from tinymathreason.files import write_json, write_text

SIZES = Architecture(
    layers=3,
    hidden=48,
    heads=6,
    kv_heads=2,
    head_dim=16,
    mlp=80,
    vocab=320,
    context=64,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
)
"""Deliberately unusual: three layers, heads * head_dim above hidden, three queries to a key."""


def overlay(sizes: Architecture, **more: object) -> str:
    """The overlay of a model of these sizes."""
    return yaml.safe_dump({"base_config": "base.yml", **sizes.maxtext_config(), **more})


def random_arrays(
    scanned: bool, sizes: Architecture = SIZES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random arrays for every parameter, of the magnitude of a trained model's."""
    rng = np.random.default_rng(seed)
    result = {}
    for path, array in stored(sizes, scanned).items():
        if path.endswith("scale"):
            result[path] = (1 + 0.3 * rng.standard_normal(array.shape)).astype(np.float32)
        else:
            spread = 1.0 if path.endswith("embedding") and not sizes.tied else 0.15
            result[path] = (spread * rng.standard_normal(array.shape)).astype(np.float32)
    return result


def save(step_dir: Path, arrays: dict[str, np.ndarray], scanned: bool) -> None:
    """Write arrays by their path as a step's folder."""
    step_dir.mkdir()
    orbax_writer.save(step_dir, {"params": orbax_writer.tree(arrays.items())}, scanned)


def sample() -> list[str]:
    """Documents of the quickstart's generators, to train a tokenizer on."""
    return [*itertools.islice(problem_documents(0), 300), *itertools.islice(fact_documents(0), 100)]


def model_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a model except the record, which has a time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "conversion.json"
    }


def save_tokenizer(entries: int, folder: Path) -> None:
    """A tokenizer with this many entries, trained on words of random letters."""
    rng = random.Random(0)
    words = ("".join(rng.choices("etaoinshrdlu", k=rng.randint(3, 8))) for _ in range(3000))
    tokenizer.save(tokenizer.train([" ".join(words)], entries), folder)


def save_model(folder: Path, sizes: Architecture, kind: str = "float32", **config: Any) -> None:
    """A Hugging Face model with random weights, and one token for end of text and padding."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal(shape) * 0.15 + (len(shape) == 1)).astype(DTYPES[kind])
        for name, shape in hf_tensors(sizes).items()
    }
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {**sizes.hf_config(2, 2, kind, 1), **config})


def save_other_tokenizer(folder: Path, entries: int, pieces: bool = False) -> None:
    """A tokenizer that is not this project's: a fast one, or with ``pieces`` SentencePiece's.

    Its end of text, of a turn and padding are one token. It comes with a chat template and a
    generation configuration.
    """
    if pieces:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "tokenizer.model").open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sample()), model_writer=file, vocab_size=entries - 1,
                model_type="bpe", hard_vocab_limit=False, minloglevel=2,
            )  # fmt: skip
        write_json(folder / "added_tokens.json", {"<pad>": entries - 1})
        end = {"content": "</s>", "__type": "AddedToken"}
        kind = "LlamaTokenizer"
    else:
        save_tokenizer(entries, folder)
        file = folder / "tokenizer.json"
        write_text(file, file.read_text().replace("<|pad|>", "<unk>"))
        end, kind = "<|im_end|>", "PreTrainedTokenizerFast"
    names = {"eos_token": end, "pad_token": end, "tokenizer_class": kind}
    # Not as this project's writer would format them.
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "generation_config.json").write_text('{"eos_token_id": [2], "temperature": 0.6}')
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}\n\n")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")


def make_home(home: Path, sizes: Architecture = SIZES) -> Path:
    """A folder with an overlay, a tokenizer and the checkpoint 7/ of a model of these sizes."""
    (home / "overlay.yml").write_text(overlay(sizes))
    save_tokenizer(sizes.vocab, home / "tokenizer")
    save(home / "7", random_arrays(True, sizes), True)
    return home


SHAPES: dict[str, tuple[Architecture, bool]] = {
    "three_to_one": (
        Architecture(
            layers=3, hidden=192, heads=6, kv_heads=2, head_dim=32, mlp=160, vocab=515,
            context=64, rope_theta=10_000.0, norm_epsilon=1e-5,
        ),
        True,
    ),
    "no_grouping": (
        Architecture(
            layers=5, hidden=100, heads=3, kv_heads=3, head_dim=64, mlp=72, vocab=331,
            context=48, rope_theta=10_000.0, norm_epsilon=1e-6,
        ),
        True,
    ),
    "one_key_unscanned": (
        Architecture(
            layers=1, hidden=64, heads=5, kv_heads=1, head_dim=128, mlp=97, vocab=300,
            context=64, rope_theta=500_000.0, norm_epsilon=1e-5,
        ),
        False,
    ),
    "llama3_rope": (
        Architecture(
            layers=7, hidden=80, heads=4, kv_heads=2, head_dim=64, mlp=96, vocab=301,
            context=64, rope_theta=500_000.0, norm_epsilon=1e-5, rope_interleaved=True,
            rope_llama3=True,
        ),
        True,
    ),
    "tied_normalized": (
        Architecture(
            layers=3, hidden=72, heads=5, kv_heads=1, head_dim=48, mlp=200, vocab=333,
            context=64, rope_theta=10_000.0, norm_epsilon=1e-5, tied=True, logits_normalized=True,
        ),
        True,
    ),
    "tied_interleaved_unscanned": (
        Architecture(
            layers=6, hidden=96, heads=6, kv_heads=3, head_dim=96, mlp=64, vocab=401,
            context=64, rope_theta=10_000.0, norm_epsilon=1e-5, tied=True, rope_interleaved=True,
        ),
        False,
    ),
    "padded_vocabulary": (
        Architecture(
            layers=3, hidden=128, heads=2, kv_heads=1, head_dim=80, mlp=131, vocab=384,
            context=64, rope_theta=10_000.0, norm_epsilon=1e-5,
        ),
        True,
    ),
    "nine_layers": (
        Architecture(
            layers=9, hidden=56, heads=9, kv_heads=3, head_dim=32, mlp=113, vocab=487,
            context=40, rope_theta=10_000.0, norm_epsilon=1e-5,
        ),
        True,
    ),
}  # fmt: skip
"""Unusual shapes that MaxText accepts, by name, and whether their layers are scanned."""
FAMILIES: dict[str, tuple[Architecture, bool]] = {
    "qwen2": (
        Architecture(
            layers=3, hidden=60, heads=5, kv_heads=1, head_dim=24, mlp=72, vocab=333,
            context=48, rope_theta=10_000.0, norm_epsilon=1e-6, qkv_bias=True, query_scaled=False,
        ),
        True,
    ),
    "qwen3": (
        Architecture(
            layers=5, hidden=56, heads=6, kv_heads=3, head_dim=32, mlp=90, vocab=351, context=64,
            rope_theta=1e6, norm_epsilon=1e-6, tied=True, qk_norm=True, query_scaled=False,
        ),
        False,
    ),
    "llama_unscaled_linear_rope": (
        Architecture(
            layers=3, hidden=64, heads=4, kv_heads=2, head_dim=40, mlp=72, vocab=310, context=64,
            rope_theta=10_000.0, norm_epsilon=1e-5, query_scaled=False, rope_linear=4.0,
        ),
        True,
    ),
}  # fmt: skip
"""The same of other families than MaxText's llama2 block."""
ROWS = {"padded_vocabulary": 339}
"""Entries of the tokenizer, where these are fewer than the model's."""


def rows(name: str) -> int:
    """Entries of the tokenizer of a shape of `SHAPES`."""
    return ROWS.get(name, SHAPES[name][0].vocab)


def without_padding(name: str) -> Architecture:
    """A shape of `SHAPES` without the padding that MaxText adds."""
    return dataclasses.replace(SHAPES[name][0], vocab=rows(name))
