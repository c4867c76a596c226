"""MinHash estimates are unbiased, documents meet as often as the formula says, numbers count."""

import random

import numpy as np
import pytest

from benchmarks.near_duplicates import changed, renumbered
from data_prep import similarity
from data_prep.similarity import BANDS, LEAST, ROWS, chance, fingerprint, similar
from tests.support.planted import jaccard, problems, texts

HASHES = BANDS * ROWS


def meet(left: str, right: str) -> bool:
    return bool(np.isin(fingerprint(left)[1], fingerprint(right)[1]).any())


def like(left: str, right: str) -> bool:
    (a, _), (b, _) = fingerprint(left), fingerprint(right)
    return bool(similar(np.array([a]), np.array([b]))[0])


def taken(left: str, right: str) -> bool:
    return meet(left, right) and like(left, right)


def agreement(left: str, right: str) -> float:
    """Jaccard similarity estimated from the stored bytes, of which 1 in 256 agree by chance."""
    (a, _), (b, _) = fingerprint(left), fingerprint(right)
    share = (a["shingle_hashes"] == b["shingle_hashes"]).mean()
    return float((share - 1 / 256) * 256 / 255)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str, float]]:
    """Texts without numbers, a changed copy of each, and how similar the two are.

    Many are short: from few shingles, hashes that are not independent scatter most.
    """
    source = random.Random(0)
    vocabulary = ["".join(source.choices("abcdefghij", k=5)) for _ in range(5000)]
    found = []
    for number in range(1200):
        text = " ".join(source.choices(vocabulary, k=source.choice([25, 60, 150, 400])))
        copy = changed(text, 0.02 + 0.28 * number / 1200, source, vocabulary)
        found.append((text, copy, jaccard(text, copy)))
    return found


def test_estimates_scatter_as_independent_hashes_would(pairs) -> None:
    errors = np.array([agreement(a, b) - exact for a, b, exact in pairs])
    exact = np.array([exact for *_, exact in pairs])
    variance = exact * (1 - exact) / HASHES
    assert abs(errors.mean()) < 4 * np.sqrt(variance.mean() / len(pairs))
    # A mean of squares of 1200 near-normal numbers: within 4 standard deviations of its own.
    assert (errors**2 / (variance + 1e-6)).mean() == pytest.approx(1, abs=4 * np.sqrt(2 / 1200))


def test_documents_meet_as_often_as_the_formula_says(pairs) -> None:
    for low, high in ((0.3, 0.45), (0.45, 0.6), (0.6, 0.95)):
        group = [(a, b, exact) for a, b, exact in pairs if low <= exact < high]
        assert len(group) > 100
        expected = chance([exact for *_, exact in group])
        met = sum(meet(a, b) for a, b, _ in group)
        deviation = np.sqrt((expected * (1 - expected)).sum())
        assert abs(met - expected.sum()) < 4 * deviation + 1


def test_the_formula() -> None:
    assert chance([0, 1]).tolist() == [0, 1]
    assert chance(0.5) == pytest.approx(1 - (1 - 0.5**ROWS) ** BANDS)


def test_the_comparison_follows_the_similarity(pairs) -> None:
    for a, b, exact in pairs:
        if abs(exact - LEAST) > 4.5 * np.sqrt(0.25 / HASHES):
            assert like(a, b) == (exact > LEAST)


@pytest.mark.parametrize("source", ["fineweb-edu", "open-web-math", "arxiv", "algebraic-stack"])
def test_a_fingerprint_depends_on_letters_and_digits_alone(source: str) -> None:
    for text in texts(source)[:10]:
        record, keys = fingerprint(text)
        quoted = text.replace("'", "\u2019").replace('"', "\u201c")
        for same in (quoted, text.replace(" ", "  \n"), text.replace(". ", " ! "), text.upper()):
            if same == text.upper() and same.lower() != text.lower():
                continue  # some letters have no capital of their own
            other, others = fingerprint(same)
            assert other == record
            assert others.tolist() == keys.tolist()


def test_a_text_without_letters_meets_no_other_and_a_short_one_meets_itself() -> None:
    assert [len(fingerprint(text)[1]) for text in ("", "...", "a", "one two")] == [0, 0, 32, 32]
    assert taken("One two.", "one  TWO")
    assert not meet("one two", "two one")


def test_the_bands_of_a_document_have_different_keys(monkeypatch) -> None:
    # Even if all hashes are equal, no two bands have the same key.
    monkeypatch.setattr(similarity, "minima", lambda _, factors: np.zeros_like(factors))
    assert len(set(fingerprint("word")[1].tolist())) == BANDS


def test_long_documents_are_fingerprinted_in_pieces() -> None:
    words = [f"w{k % 9973 * k % 7919}" for k in range(300_000)]
    text = " ".join(words)
    assert len(text) > 1_500_000
    words[150_000] = "changed"
    assert taken(text, " ".join(words))
    assert not meet(" ".join(words[:100_000]), " ".join(words[200_000:]))


def copies(count: int) -> list[tuple[str, str, str]]:
    """Questions with numbers: each one, with other numbers, and with 6 % of its words changed."""
    source = random.Random(1)
    questions = [q for q, _ in problems("train") if any(c.isdigit() for c in q)]
    chosen = source.sample(questions, count)
    vocabulary = " ".join(chosen).split()
    return [(q, renumbered(q, source), changed(q, 0.06, source, vocabulary)) for q in chosen]


def test_an_exercise_with_other_numbers_is_another_exercise(monkeypatch) -> None:
    found = copies(600)
    templated = sum(taken(text, other) for text, other, _ in found) / len(found)
    changed = sum(taken(text, copy) for text, _, copy in found) / len(found)
    assert templated <= 0.05
    assert changed >= 0.9
    monkeypatch.setattr(similarity, "SHARED_NUMBERS", 0)
    without = sum(taken(text, other) for text, other, _ in found) / len(found)
    print(f"templated {templated:.1%}, without the rule {without:.1%}; changed {changed:.1%}")
    assert without >= 5 * templated + 0.2


def test_where_numbers_are_rare_they_do_not_count() -> None:
    source = random.Random(2)
    words = ["".join(source.choices("abcdefgh", k=4)) for _ in range(900)]
    words[100] = words[500] = "{}"
    text = " ".join(words)
    assert taken(text.format(1, 2), text.format(3, 4))
    crowded = " ".join(words[80:130])
    assert not taken(crowded.format(1), crowded.format(3))
    assert taken(crowded.format(1), crowded.format(1) + " end")
