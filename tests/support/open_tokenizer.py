"""Tokenizers as open models have them, made small."""

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.support.checkpoints import sample

CHAT = ["<|im_start|>", "<|im_end|>"]
"""The control tokens of ChatML."""


def make(folder: Path, special: list[str], config: dict[str, Any], style: str = "bytes") -> Path:
    """Write a tokenizer with these special tokens and this tokenizer_config.json.

    ``post`` in ``config`` is a token that its post-processor puts before a text. The styles are
    byte-level BPE, SentencePiece's as in Llama 2, and lower case with bytes that have no entry.
    """
    made = tokenizers.Tokenizer(models.BPE(byte_fallback=style == "pieces"))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if style == "bytes":
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
    elif style == "pieces":  # as SentencePiece's, in Llama 2
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        alphabet = list("\u2581abcdefghijklmnopqrstuvwxyz0123456789.")
        special = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    else:  # lower case, and bytes that have no entry
        made.normalizer = normalizers.Lowercase()
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789.\u0120\u010a")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(sample()[:100], trainer)
    if style == "pieces":
        content = json.loads(made.to_str())
        content["added_tokens"] = [t for t in content["added_tokens"] if "<0x" not in t["content"]]
        made = tokenizers.Tokenizer.from_str(json.dumps(content))
    if "post" in config:
        bos = config.pop("post")
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
