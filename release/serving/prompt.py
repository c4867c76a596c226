"""A text in; a number of tokens that it certainly has, found without reading it, out."""

import json
from collections.abc import Callable
from typing import Any


def least_tokens(tokenizer: Any) -> Callable[[str], int]:
    """A function that tells how many tokens of a tokenizer a text has at least.

    A byte-level tokenizer's token spells the bytes it stands for, so none stands for more
    characters than the longest one has. Of a tokenizer that changes text first, nothing is known.
    """
    state = json.loads(tokenizer.to_str())
    splits = json.dumps(state["pre_tokenizer"])
    if state["normalizer"] or '"ByteLevel"' not in splits or '"Removed"' in splits:
        return lambda text: 0
    longest = max(map(len, tokenizer.get_vocab()))
    return lambda text: -(-len(text) // longest)
