"""Normalisation is idempotent, duplicates are caught, the split is a function of the text."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from data_prep.clean import Cleaner, is_held_out, normalise


@given(st.text())
def test_normalise_is_idempotent_and_nfc(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once


def test_normalise_keeps_mathematics_and_code() -> None:
    text = "def f(x):\n\treturn x\n\n$\\frac{1}{2} \\leq x$"
    assert normalise(text + "\x00\r\n") == text


@given(st.lists(st.text(max_size=3)))
def test_every_document_is_kept_once_or_rejected_for_a_reason(texts: list[str]) -> None:
    clean = Cleaner()
    kept, reasons = [], []
    for text in texts:
        cleaned, reason = clean(text)
        if reason is None:
            kept.append(cleaned)
        else:
            reasons.append(reason)
    assert len(kept) + len(reasons) == len(texts)
    assert len(set(kept)) == len(kept)
    assert set(kept) == {normalise(text) for text in texts} - {""}
    assert reasons.count("empty") == sum(not normalise(text) for text in texts)


def test_split_keeps_its_share_and_depends_on_the_seed() -> None:
    texts = [f"document {i}" for i in range(4000)]
    chosen = {text for text in texts if is_held_out(text, 0.1, seed=0)}
    assert 0.08 < len(chosen) / len(texts) < 0.12
    assert chosen != {text for text in texts if is_held_out(text, 0.1, seed=1)}
    # A larger share contains the smaller one: documents do not hop between splits.
    assert chosen < {text for text in texts if is_held_out(text, 0.2, seed=0)}
