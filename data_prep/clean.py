"""Normalises the text of documents, and assigns each to a split."""

import hashlib
import re
import unicodedata

_LINE_END = re.compile(r"[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def normalise(text: str) -> str:
    """NFC, line ends as ``\\n``, no control characters but newline and tab; stripped."""
    text = _CONTROL.sub("", _LINE_END.sub("\n", text.replace("\r\n", "\n")))
    return unicodedata.normalize("NFC", text).strip()


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded as UTF-8; JSON escapes can contain unpaired surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_held_out(text: str, fraction: float, seed: int) -> bool:
    """Whether a document belongs to the evaluation split, by a hash of its text and the seed."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, salt=seed.to_bytes(8, "big"))
    return int.from_bytes(digest.digest(), "big") < fraction * 2**64
