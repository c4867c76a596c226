"""The content of a file in; where it holds what others must not read, out. Never the secret."""

import bisect
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ESCAPED = rb"(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})"
"""Behind a character as JSON spells it, with letters and digits."""
_START = rb"(?:(?<![A-Za-z0-9])|" + _ESCAPED + rb")"
"""Not within a word."""
_END = rb"(?![A-Za-z0-9])"
_BLANK = rb"(?:\s|\\[nrt]){1,9}"
_NAME = rb"[^\s\\\"']{1,256}"
SECRETS = {
    "a Hugging Face token": _START + rb"(hf|api_org)_[A-Za-z0-9]{30,}",
    "an AWS access key": _START + rb"(AKIA|ASIA)[A-Z0-9]{16}" + _END,
    "an AWS secret key": rb"(?i)aws_?secret_?access_?key\W{1,6}[A-Za-z0-9/+]{40}",
    "a Google API key": _START + rb"AIza[A-Za-z0-9_-]{35}",
    "a Google OAuth token": _START + rb"ya29\.[A-Za-z0-9_-]{20,}",
    "a Google client secret": _START + rb"GOCSPX-[A-Za-z0-9_-]{28}",
    "an Azure key": (
        rb"(?i:account_?key|storage_?key|shared_?access_?key)\W{1,6}"
        rb"([A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{43}=)|(?i:azure_?\w{0,30}key)\W{1,6}[A-Za-z0-9]{32,}"
    ),
    "an Azure client secret": (
        rb"(?:(?<![A-Za-z0-9_~.-])|" + _ESCAPED + rb")"
        rb"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"
    ),
    "an Azure signature": rb"[?&]sig=[A-Za-z0-9%]{43,63}%3[Dd]",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a Slack token": (
        _START + rb"(xox[abcdeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Z0-9]+-[0-9]+-[A-Za-z0-9]{16,})"
    ),
    "a Slack webhook": (
        rb"hooks\.slack\.com\\?/(services|workflows|triggers)\\?/[A-Z0-9]{8,}\\?/[A-Za-z0-9\\/]{16,}"
    ),
    "a GitHub token": _START + rb"(gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})",
    "a GitLab token": _START + rb"glpat-[A-Za-z0-9_-]{20,}",
    "a Python package index token": _START + rb"pypi-AgE[A-Za-z0-9_-]{70,}",
    "an npm token": (
        _START + rb"npm_[A-Za-z0-9]{36}" + _END + rb"|_authToken\W{1,3}[0-9a-f]{8}-[0-9a-f-]{27}"
    ),
    "a Stripe key": _START + rb"([sr]k_(live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{32,})",
    "a SendGrid key": _START + rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    "a Groq key": _START + rb"gsk_[A-Za-z0-9]{48,}",
    "a Kaggle key": (
        _START + rb"KGAT_[0-9a-f]{32}|(?i:kaggle_?(api_?)?(key|token))\W{1,6}[0-9a-f]{32}" + _END
        + rb"|\busername\W{1,6}[\w.-]+\W{1,8}key\W{1,6}[0-9a-f]{32}" + _END
    ),
    "an API key": _START + rb"sk-[A-Za-z0-9_-]{32,}",
    "a Weights & Biases key": (
        _START + rb"wandb_v1_[A-Za-z0-9_-]{60,}"
        rb"|(?i:wandb_?api_?key)\W{1,6}(local-)?[0-9a-f]{40}"
    ),
    "a JSON web token": (
        _START + rb"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,}"
    ),
    "a password for a machine": _BLANK.join([
        _START + rb"(?:machine" + _BLANK + _NAME + rb"|default)", rb"login", _NAME,
        rb"(?:account" + _BLANK + _NAME + _BLANK + rb")?password", _NAME,
    ]),
    "an authorization header": (
        _START + rb"(?i:authorization\W{1,6}(bearer|basic))\s+[\w+/=.~-]{8,}"
    ),
    "a password in an address": rb"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,}@",
}  # fmt: skip
"""Patterns of secrets, by what a user is told. Where a service publishes no grammar, the length is
that of the keys it hands out, with some room."""
_KEY = "(a key)"
_HOME = rb"(/home/|/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^/\\\s\"']+|/root(?=/)"


def found(content: bytes) -> Iterator[str]:
    """For each kind of secret: which it is, and the line or the key of JSON that holds it."""
    texts = _Texts.of(content)
    for kind, pattern in SECRETS.items():
        if place := next(_places(pattern, content, texts), None):
            yield f"holds {kind} {place[0]}"


def homes(content: bytes) -> Iterator[str]:
    """For each home folder that is named, which may tell who a user is: where."""
    texts = _Texts.of(content)
    seen = set()
    patterns = [
        _HOME,
        *([re.escape(str(home).encode())] if (home := Path.home()).parts[2:] else []),
    ]
    for pattern in patterns:
        for place, match in _places(pattern, content, texts):
            if match not in seen:
                seen.add(match)
                yield f"names a home folder {place}"


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, in which a name may stand twice."""


class _Texts:
    """Every text of a value of JSON, names of keys too, and the keys that lead there.

    A text is here as a reader of JSON has it: JSON can spell any character as an escape.
    """

    def __init__(self, value: Any) -> None:
        found = list(_texts(value))
        # A key touches the text that it names; no others touch, lest a vocabulary hold a secret.
        following = [keys for keys, _ in found[1:]] + [()]
        parts = [
            text.encode("utf-8", "surrogatepass")
            + (b"\n" if keys[-1:] == (_KEY,) and after == (*keys[:-1], text) else b"\0" * 8)
            for (keys, text), after in zip(found, following, strict=True)
        ]
        self.content = b"".join(parts)
        self._starts = list(itertools.accumulate(map(len, parts), initial=0))
        self._keys = [keys for keys, _ in found]

    @classmethod
    def of(cls, content: bytes) -> "_Texts | None":
        """None when the content is no JSON."""
        try:
            return cls(json.loads(content, object_pairs_hook=_Pairs))
        except (ValueError, RecursionError):
            return None

    def place(self, match: re.Match[bytes]) -> str:
        """The keys that lead to the end of a match: a secret stands behind its name."""
        return ".".join(self._keys[bisect.bisect(self._starts, match.end() - 1) - 1])


def _places(pattern: bytes, content: bytes, texts: _Texts | None) -> Iterator[tuple[str, bytes]]:
    """Where a pattern is found, and what it finds: in the texts of JSON, or in all the content."""
    line, counted = 1, 0
    for match in re.finditer(pattern, texts.content if texts else content):
        if texts:
            yield f"under {texts.place(match)}", match[0]
            continue
        line += content.count(b"\n", counted, match.start())
        counted = match.start()
        yield f"in line {line}", match[0]


def _texts(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a value of JSON, the names of keys too, with the keys that lead to it."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, _Pairs):
        for key, inner in value:
            yield (*keys, _KEY), key
            yield from _texts(inner, (*keys, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*keys, str(number)))
