"""The content of a file in; where it holds what others must not read, out. Never the secret."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json

_START = rb"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
"""Not within a word; JSON spells the end of a line with a letter."""
SECRETS = {
    "a Hugging Face token": _START + rb"(hf|api_org)_[A-Za-z0-9]{30,}",
    "an AWS access key": _START + rb"(AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "an AWS secret key": rb"(?i)aws_?secret_?access_?key\W{1,6}[A-Za-z0-9/+]{40}",
    "a Google API key": _START + rb"AIza[A-Za-z0-9_-]{35}",
    "a Google OAuth token": _START + rb"ya29\.[A-Za-z0-9_-]{20,}",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a Slack token": _START + rb"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a GitHub token": _START + rb"(gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})",
    "a GitLab token": _START + rb"glpat-[A-Za-z0-9_-]{20,}",
    "an API key": _START + rb"sk-[A-Za-z0-9_-]{32,}",
    "a Weights & Biases key": rb"(?i)wandb_?api_?key\W{1,6}[0-9a-f]{40}",
    "an authorization header": rb"(?i)\bauthorization\W{1,6}(bearer|basic)\s+[\w+/=.~-]{8,}",
    "a password in an address": rb"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,}@",
}
"""Patterns of secrets, by what a user is told."""
_HOME = rb"(/home/|/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^/\\\s\"']+|/root(?=/)"


def found(content: bytes) -> Iterator[str]:
    """For each kind of secret: which it is, and the line or the key of JSON that holds it."""
    for kind, pattern in SECRETS.items():
        if match := re.search(pattern, content):
            yield f"holds {kind} {_place(content, match)}"


def homes(content: bytes) -> Iterator[str]:
    """For each home folder that is named, which may tell who a user is: where."""
    seen = set()
    patterns = [
        _HOME,
        *([re.escape(str(home).encode())] if (home := Path.home()).parts[2:] else []),
    ]
    for pattern in patterns:
        for match in re.finditer(pattern, content):
            if match[0] not in seen:
                seen.add(match[0])
                yield f"names a home folder {_place(content, match)}"


def _place(content: bytes, match: re.Match[bytes]) -> str:
    try:
        value = parse_json(content, "")
    except InputError:
        return f"in line {1 + content.count(b'\n', 0, match.start())}"
    # As JSON spells the text, with its escapes.
    needle = match[0].decode("utf-8", errors="replace")
    for keys, text in _texts(value):
        if needle in json.dumps(text, ensure_ascii=False):
            return f"under {'.'.join(keys)}"
    return f"in line {1 + content.count(b'\n', 0, match.start())}"


def _texts(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a value of JSON, the names of keys too, with the keys that lead to it."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*keys, "(a key)"), key
            yield from _texts(inner, (*keys, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*keys, str(number)))
