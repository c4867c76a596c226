"""The control tokens of a tokenizer, which mark turns and ends and which no text should become."""

import re
from collections.abc import Iterable
from typing import Any


def control_ids(tokenizer: Any) -> dict[str, int]:
    """The control tokens of a transformers tokenizer and their ids."""
    added = tokenizer.added_tokens_decoder.items()
    return {token.content: i for i, token in added if token.special}


def control_pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the tokens, the longest one where several begin alike; nothing without any."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
