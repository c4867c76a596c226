"""Normalisation is idempotent, invalid Unicode is detected, and the text decides the split."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from data_prep.clean import is_held_out, is_unicode, normalise


@given(st.text())
def test_normalise_is_idempotent_and_nfc(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once


def test_normalise_keeps_mathematics_and_code() -> None:
    text = "def f(x):\n\treturn x\n\n$\\frac{1}{2} \\leq x$"
    assert normalise(text + "\x00\r\n") == text
    assert normalise("a\r\nb\rc") == "a\nb\nc"
    assert normalise("e\u0301\x1b \x7f") == "\u00e9"


def test_an_unpaired_surrogate_is_not_unicode() -> None:
    assert is_unicode("")
    assert is_unicode("\U0001d7d9 \u00e9")
    assert not is_unicode("half \ud800")
    assert not is_unicode("\udc00 the other half")


def test_split_keeps_its_share_and_depends_on_the_seed() -> None:
    texts = [f"document {i}" for i in range(4000)]
    chosen = {text for text in texts if is_held_out(text, 0.1, seed=0)}
    assert 0.08 < len(chosen) / len(texts) < 0.12
    assert chosen != {text for text in texts if is_held_out(text, 0.1, seed=1)}
    # A larger share contains the smaller one, so documents do not change splits needlessly.
    assert chosen < {text for text in texts if is_held_out(text, 0.2, seed=0)}


def test_page_breaks_are_line_ends() -> None:
    text = "page one.\x0cChapter\x0bTwo\x85Three\u2028Four\rFive\r\nSix"
    assert normalise(text) == "page one.\nChapter\nTwo\nThree\nFour\nFive\nSix"
