"""Finds secrets in the content of a file and names their kind and place, never the secret itself.

The patterns of detect-secrets are searched first; ours are for services that it does not know, or
whose keys it knows in one of several forms only. Its scanner is not used: it reads a file line by
line as it is stored, whereas JSON can spell any character of a key as an escape.
"""

import bisect
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

_ESCAPED = r"(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})"
"""Behind a character as JSON spells it, with letters and digits."""
_START = r"(?:(?<![A-Za-z0-9])|" + _ESCAPED + r")"
"""Not within a word."""
_END = r"(?![A-Za-z0-9])"
_BLANK = r"(?:\s|\\[nrt]){1,9}"
_NAME = r"[^\s\\\"']{1,256}"
_OURS = {
    "a Hugging Face token": _START + r"(hf|api_org)_[A-Za-z0-9]{30,}",
    "an AWS secret key": r"(?i)aws_?secret_?access_?key\W{1,6}[A-Za-z0-9/+]{40}",
    "a Google API key": _START + r"AIza[A-Za-z0-9_-]{35}",
    "a Google OAuth token": _START + r"ya29\.[A-Za-z0-9_-]{20,}",
    "a Google client secret": _START + r"GOCSPX-[A-Za-z0-9_-]{28}",
    "an Azure key": (
        r"(?i:account_?key|storage_?key|shared_?access_?key)\W{1,6}"
        r"([A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{43}=)|(?i:azure_?\w{0,30}key)\W{1,6}[A-Za-z0-9]{32,}"
    ),
    "an Azure client secret": (
        r"(?:(?<![A-Za-z0-9_~.-])|" + _ESCAPED + r")"
        r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"
    ),
    "an Azure signature": r"[?&]sig=[A-Za-z0-9%]{43,63}%3[Dd]",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a Slack token": (
        _START + r"(xox[abcdeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Z0-9]+-[0-9]+-[A-Za-z0-9]{16,})"
    ),
    "a Slack webhook": (
        r"hooks\.slack\.com\\?/(services|workflows|triggers)\\?/[A-Z0-9]{8,}\\?/[A-Za-z0-9\\/]{16,}"
    ),
    "a GitHub token": _START + r"github_pat_[A-Za-z0-9_]{22,}",
    "a Python package index token": _START + r"pypi-AgE[A-Za-z0-9_-]{70,}",
    "an npm token": (
        _START + r"npm_[A-Za-z0-9]{36}" + _END + r"|_authToken\W{1,3}[0-9a-f]{8}-[0-9a-f-]{27}"
    ),
    "a Stripe key": _START + r"([sr]k_(live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{32,})",
    "a Groq key": _START + r"gsk_[A-Za-z0-9]{48,}",
    "a Kaggle key": (
        _START + r"KGAT_[0-9a-f]{32}|(?i:kaggle_?(api_?)?(key|token))\W{1,6}[0-9a-f]{32}" + _END
        + r"|\busername\W{1,6}[\w.-]+\W{1,8}key\W{1,6}[0-9a-f]{32}" + _END
    ),
    "an API key": _START + r"sk-[A-Za-z0-9_-]{32,}",
    "a Weights & Biases key": (
        _START + r"wandb_v1_[A-Za-z0-9_-]{60,}"
        r"|(?i:wandb_?api_?key)\W{1,6}(local-)?[0-9a-f]{40}"
    ),
    "a JSON web token": (
        _START + r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,}"
    ),
    "a password for a machine": _BLANK.join([
        _START + r"(?:machine" + _BLANK + _NAME + r"|default)", r"login", _NAME,
        r"(?:account" + _BLANK + _NAME + _BLANK + r")?password", _NAME,
    ]),
    "an authorization header": (
        _START + r"(?i:authorization\W{1,6}(bearer|basic))\s+[\w+/=.~-]{8,}"
    ),
    "a password in an address": r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,}@",
}  # fmt: skip
"""Where a service publishes no grammar, the length is that of the keys it hands out, with some
room."""
_DETECTORS = {
    "an AWS access key": "AWS Access Key",
    "a Discord token": "Discord Bot Token",
    "a GitHub token": "GitHub Token",
    "a GitLab token": "GitLab Token",
    "a Mailchimp key": "Mailchimp Access Key",
    "a private key": "Private Key",
    "a SendGrid key": "SendGrid API Key",
    "a Square secret": "Square OAuth Secret",
    "a Telegram token": "Telegram Bot Token",
    "a Twilio key": "Twilio API Key",
}
"""Detectors of detect-secrets, as it names them. Of its others, ours find more (basic
authentication, PyPI, npm, Slack, Stripe, OpenAI, Azure), or they take a placeholder, a public
address or any long word for a secret."""


def _patterns() -> dict[str, list[re.Pattern[str]]]:
    known: dict[str, Any] = get_mapping_from_secret_type_to_class()
    patterns = {kind: [re.compile(pattern, re.ASCII)] for kind, pattern in _OURS.items()}
    for kind, name in _DETECTORS.items():
        detector: Any = known[name]
        patterns.setdefault(kind, []).extend(detector.denylist)
    return patterns


PATTERNS = _patterns()
"""Patterns of secrets by their kind, as a message names it."""
_KEY = "(a key)"
_HOME = r"(/home/|/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^/\\\s\"']+|/root(?=/)"


def find_secrets(content: bytes) -> Iterator[str]:
    """For each kind of secret in a file's content: its name, and the line or JSON key of the first.

    Takes time linear in the content.
    """
    text, values = _parse(content)
    for kind, patterns in PATTERNS.items():
        if place := next(
            (p for pattern in patterns for p, _ in _places(pattern, text, values)), None
        ):
            yield f"holds {kind} {place}"


def find_homes(content: bytes) -> Iterator[str]:
    """For each home folder that a file's content names, which may identify a user: its place."""
    text, values = _parse(content)
    seen = set()
    patterns = [_HOME, *([re.escape(str(home))] if (home := Path.home()).parts[2:] else [])]
    for pattern in patterns:
        for place, match in _places(re.compile(pattern), text, values):
            if match not in seen:
                seen.add(match)
                yield f"names a home folder {place}"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs, since a name may occur twice."""


class _Values:
    """Every text of a JSON value, including the names of keys, with the keys that lead to it.

    A text is stored as a reader of JSON sees it: JSON can spell any character as an escape.
    """

    def __init__(self, value: Any) -> None:
        texts = list(_texts(value))
        # A name and its text are searched together; others are kept apart, since neighbours in a
        # vocabulary may read like a secret.
        following = [keys for keys, _ in texts[1:]] + [()]
        parts = [
            text + ("\n" if keys[-1:] == (_KEY,) and after == (*keys[:-1], text) else "\0" * 8)
            for (keys, text), after in zip(texts, following, strict=True)
        ]
        self.text = "".join(parts)
        self._starts = list(itertools.accumulate(map(len, parts), initial=0))
        self._keys = [keys for keys, _ in texts]

    def place(self, match: re.Match[str]) -> str:
        """The keys that lead to the end of a match: a secret follows its name."""
        return ".".join(self._keys[bisect.bisect(self._starts, match.end() - 1) - 1])


def _parse(content: bytes) -> tuple[str, _Values | None]:
    """The text of a file, and its values when it is JSON."""
    try:
        return "", _Values(json.loads(content, object_pairs_hook=_Pairs))
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace"), None


def _places(
    pattern: re.Pattern[str], text: str, values: _Values | None
) -> Iterator[tuple[str, str]]:
    """The place and the text of each match, in the values of JSON or else in the whole text."""
    line, counted = 1, 0
    for match in pattern.finditer(values.text if values else text):
        if values:
            yield f"under {values.place(match)}", match[0]
            continue
        line += text.count("\n", counted, match.start())
        counted = match.start()
        yield f"in line {line}", match[0]


def _texts(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a JSON value, including the names of keys, with the keys that lead to it."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, _Pairs):
        for key, inner in value:
            yield (*keys, _KEY), key
            yield from _texts(inner, (*keys, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*keys, str(number)))
