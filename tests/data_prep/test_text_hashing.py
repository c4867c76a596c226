"""Hashes of text agree with slow definitions in Python's integers."""

import itertools
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import text_hashing
from data_prep.text_hashing import HashedText, pieces

SAME_EXAMPLES = settings(derandomize=True, deadline=None)
BASE = 0x9E3779B97F4A7C15
TEXT = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("aZ09 .,$\u2019\u00e9\n")))


def mix(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def word_hash(word: bytes) -> int:
    terms = ((letter + 1) * BASE ** min(place, 63) for place, letter in enumerate(word))
    return mix(sum(terms) % 2**64)


def run_hash(values: list[int]) -> int:
    """The polynomial in `BASE` whose last coefficient is the last value."""
    total = 0
    for value in values:
        total = (total * BASE + value) % 2**64
    return total


def words_of(text: str) -> list[bytes]:
    """The words of a text, found one character at a time."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    spaced = "".join(
        c if re.match(r"[a-zA-Z0-9]", c) or (not c.isascii() and re.match(r"\w", c)) else " "
        for c in text
    )
    # A capital may become a letter and a sign of its own: "\u0130".lower() is two characters.
    return [word.encode() for word in spaced.lower().split()]


def hashed_words(hashed: HashedText) -> list[bytes]:
    ends = [*hashed.starts.tolist(), len(hashed.letters)]
    letters = hashed.letters.tobytes()
    return [letters[a:b] for a, b in itertools.pairwise(ends)]


@SAME_EXAMPLES
@given(TEXT)
def test_words_are_runs_of_letters_and_digits(text: str) -> None:
    hashed = HashedText.from_text(text)
    assert hashed_words(hashed) == words_of(text)
    assert hashed.words.tolist() == [word_hash(word) for word in words_of(text)]


@SAME_EXAMPLES
@given(TEXT, st.integers(1, 5))
def test_shingles(text: str, size: int) -> None:
    words = [word_hash(word) for word in words_of(text)]
    runs = [words[k : k + size] for k in range(max(min(len(words), 1), len(words) - size + 1))]
    assert HashedText.from_text(text).shingles(size).tolist() == [
        mix(run_hash(run)) for run in runs
    ]


@SAME_EXAMPLES
@given(TEXT)
def test_numbers_go_with_the_word_before(text: str) -> None:
    words = words_of(text)
    pairs = [
        ((0 if k == 0 else word_hash(words[k - 1])) * BASE + word_hash(word)) % 2**64
        for k, word in enumerate(words)
        if re.fullmatch(rb"[0-9]+", word)
    ]
    assert HashedText.from_text(text).numbers().tolist() == [mix(pair) for pair in pairs]


@SAME_EXAMPLES
@given(TEXT, st.sampled_from([1, 2, 4, 8, 32]))
def test_windows(text: str, largest: int) -> None:
    letters = [mix(letter + 1) for letter in b"".join(words_of(text))]
    found = HashedText.from_text(text).windows(largest)
    assert list(found) == [2**k for k in range(largest.bit_length())]
    for size, runs in found.items():
        assert runs.tolist() == [
            run_hash(letters[k : k + size]) for k in range(len(letters) - size + 1)
        ]


def test_formatting_does_not_matter_and_words_do() -> None:
    plain = HashedText.from_text("Janet's 16 ducks cost $2 per egg, isn't it?").shingles(3)
    for same in (
        "JANET\u2019S 16 DUCKS COST $2$ PER EGG ISN\u2019T IT",
        "  Janet's\n16   ducks, cost -- $ 2 per 'egg'; isn't... it!?",
        "\u201cJanet\u2032s \uff11\uff16 \uff24ucks\u201d cost \u20ac2 per egg isn\u00b4t it",
    ):
        assert HashedText.from_text(same).shingles(3).tolist() == plain.tolist()
    assert HashedText.from_text("Janet's 61 ducks").shingles(3).tolist() != plain[:1].tolist()
    # Other scripts count as letters.
    assert len(HashedText.from_text("\u03b1\u03b2 \u6570\u5b66 x").starts) == 3
    assert (
        HashedText.from_text("\u03b1").words.tolist()
        != HashedText.from_text("\u03b2").words.tolist()
    )


@pytest.mark.parametrize("text", ["", " \n", "...", "$\u2019\u2211"])
def test_a_text_without_letters(text: str) -> None:
    hashed = HashedText.from_text(text)
    found = [hashed.letters, hashed.starts, hashed.words, hashed.shingles(3), hashed.numbers()]
    assert [len(array) for array in (*found, *hashed.windows(32).values())] == [0] * 11


def test_a_text_of_fewer_words_than_a_shingle_is_one() -> None:
    one, two = (HashedText.from_text(text).shingles(3) for text in ("alpha", "alpha beta"))
    assert (len(one), len(two)) == (1, 1)
    assert one[0] != two[0] != HashedText.from_text("beta alpha").shingles(3)[0]


@pytest.mark.parametrize("word", ["x" * 63, "x" * 64, "x" * 65, "x" * 1000])
def test_long_words_differ_by_their_length(word: str) -> None:
    assert HashedText.from_text(word).words[0] != HashedText.from_text(word + "x").words[0]


@SAME_EXAMPLES
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 8))
def test_pieces_lose_nothing(length: int, piece: int, overlap: int) -> None:
    text = "".join(map(chr, range(200, 200 + length)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_hashing, "PIECE", piece)
        patch.setattr(text_hashing, "OVERLAP", overlap)
        parts = list(pieces(text))
    assert "".join(part[:piece] for part in parts[:-1]) + parts[-1] == text
    assert all(len(part) <= piece + overlap for part in parts)
    for start in range(length):
        run = text[start : start + overlap]
        assert any(run in part for part in parts)


def test_a_document_of_many_pieces_is_hashed_completely() -> None:
    text = " ".join(f"w{k}" for k in range(300_000))
    assert len(text) > 2 * text_hashing.PIECE
    found = np.unique(np.concatenate([piece.words for piece in text_hashing.hashed_pieces(text)]))
    assert len(found) >= 300_000
    assert np.isin(HashedText.from_text(text[: 1 << 20]).words[:-1], found).all()
    whole = HashedText.from_text(text).words
    assert np.isin(whole, found).all()
