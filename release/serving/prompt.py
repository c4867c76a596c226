"""A lower bound of the number of tokens of a text, without tokenising it."""

import json
from collections.abc import Callable
from typing import Any


def least_tokens(tokenizer: Any) -> Callable[[str], int]:
    """A function from a text to the least number of tokens that it can have.

    A token of a byte-level tokenizer spells the bytes that it encodes, so that it encodes no more
    characters than the longest token has. The bound is 0 for a tokenizer that changes the text.
    """
    state = json.loads(tokenizer.to_str())
    splits = json.dumps(state["pre_tokenizer"])
    if state["normalizer"] or '"ByteLevel"' not in splits or '"Removed"' in splits:
        return lambda text: 0
    longest = max(map(len, tokenizer.get_vocab()))
    return lambda text: -(-len(text) // longest)
