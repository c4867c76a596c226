"""How many bytes a token stands for, ours beside the tokenizers that MaxText brings along."""

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep.stages.records import decode
from data_prep.tokenizer import Encoder, load
from tinymathreason.tables import markdown_table

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 splits text before merging; its published file holds the ranks only."""
SAMPLE_BYTES = 1_000_000
"""Held-out text of each source that is compared."""


def peers() -> dict[str, Callable[[list[str]], int]]:
    """Functions that count the tokens of texts, of each tokenizer that is installed."""
    import gigatoken
    import tiktoken.load

    folder = Path(str(importlib.resources.files("maxtext"))) / "assets" / "tokenizers"
    found: dict[str, Callable[[list[str]], int]] = {}
    if (path := folder / "tokenizer.llama2").is_file():
        llama2 = gigatoken.Tokenizer.from_sentencepiece(path)
        found["Llama 2 (32,000)"] = lambda texts: sum(
            len(ids) for ids in llama2.encode_batch(texts, parallel=False)
        )
    if (path := folder / "tokenizer_llama3.tiktoken").is_file():
        ranks = tiktoken.load.load_tiktoken_bpe(str(path))
        llama3 = tiktoken.Encoding(
            "llama3", pat_str=LLAMA3_SPLIT, mergeable_ranks=ranks, special_tokens={}
        )
        found["Llama 3 (128,256)"] = lambda texts: sum(
            len(llama3.encode_ordinary(text)) for text in texts
        )
    return found


def held_out(folder: Path, shards: list[dict[str, Any]]) -> list[str]:
    """Held-out texts of a source, up to `SAMPLE_BYTES`; its tokens give them back exactly."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    tokenizer, texts, size = load(folder / "tokenizer"), [], 0
    for shard in shards:
        if "/eval-" not in shard["path"]:
            continue
        with ArrayRecordDataSource(str(folder / shard["path"])) as records:
            for number in range(len(records)):
                ids = decode(records[number])[:-1][:SAMPLE_BYTES].tolist()
                texts.append(tokenizer.decode(ids, skip_special_tokens=False))
                size += len(texts[-1].encode("utf-8"))
                if size >= SAMPLE_BYTES:
                    return texts
    return texts


def bytes_per_token(folder: Path, sources: dict[str, Any]) -> str:
    """A Markdown table: for each source, bytes per token of ours and of the peers."""
    ours = Encoder(folder / "tokenizer")
    counters = {"this one": lambda texts: sum(len(ids) for ids in ours(texts)), **peers()}
    rows = []
    for name, entry in sources.items():
        texts = held_out(folder, entry["shards"])
        size = sum(len(text.encode("utf-8")) for text in texts)
        rows.append([name, *(f"{size / max(1, count(texts)):.2f}" for count in counters.values())])
    return markdown_table(["source", *counters], rows)
