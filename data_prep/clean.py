"""Documents in; normalised documents, or the reason for rejecting one, out."""

import hashlib
import unicodedata


def normalise(text: str) -> str:
    """NFC, line ends as ``\\n``, no control characters but newline and tab, no outer space."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
    return "".join(kept).strip()


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8; JSON's escapes can smuggle in half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Cleaner:
    """Normalises documents and rejects empty ones and exact copies of earlier ones.

    One instance serves all sources, so that a document stays in the first source that has it.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, text: str) -> tuple[str, str | None]:
        """The normalised text, and None to keep it or the reason to reject it."""
        if not is_unicode(text):
            return text, "invalid_unicode"
        text = normalise(text)
        if not text:
            return text, "empty"
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
        if digest in self._seen:
            return text, "exact_duplicate"
        self._seen.add(digest)
        return text, None


def is_held_out(text: str, fraction: float, seed: int) -> bool:
    """Whether a document belongs to the evaluation split, by a hash of its text and the seed."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, salt=seed.to_bytes(8, "big"))
    return int.from_bytes(digest.digest(), "big") < fraction * 2**64
