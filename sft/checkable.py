"""Tells questions whose answers can be checked from proofs, as competition sets mix both."""

import re

MOST_WORDS = 3
"""Words of a final answer; one with more is a sentence."""

# Imperatives, such as "Prove it" and "and show that", but not "the records show that".
_PROOF = re.compile(
    r"(?:^|[.?!:;,)$\n]\s*|\b(?:and|then|also)\s+)(?:prove|(?:show|demonstrate|verify)\s+that)\b"
    r"|\bto\s+prove\b",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_END_OF_PROOF = re.compile(
    r"\\(?:blacksquare|square|qed|checkmark)(?![A-Za-z])|\b(?:proved|proven|proof|q\.?e\.?d)\b",
    re.IGNORECASE,
)


def obstacle(question: str, answer: str) -> str | None:
    """Why an answer cannot be checked: ``proof`` or ``not_checkable``; None if it can.

    ``answer`` is what the final line tells: a number, LaTeX, the letter of a choice or a few words.
    """
    if _PROOF.search(question) or _END_OF_PROOF.search(answer):
        return "proof"
    return "not_checkable" if len(_WORD.findall(_COMMAND.sub(" ", answer))) > MOST_WORDS else None
