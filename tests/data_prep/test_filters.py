"""Each filter rejects what it names; filters for prose reject mathematics, and ours do not."""

import random
import subprocess
import sys

import pytest

from benchmarks.corpus import SOURCES
from data_prep.filters import DATATROVE, OURS, check, make
from tests.support.planted import IS_REAL, generated, texts

PROSE = " ".join(
    f"In the {n} chapter the author explains that a proof needs care, and the reader sees how to "
    f"find it; the {n} example of this is about numbers that we know well."
    for n in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
)
VARIED = generated("varied", 1, 300, 300)[0]
LINES = "\n".join(
    f"This is sentence number {k} of a page, and it says something." for k in range(9)
)


@pytest.mark.parametrize(
    ("entry", "text", "reason"),
    [
        ({"length": {"least": 3}}, "ab", "too_short"),
        ({"length": {"least": 3}}, "abc", None),
        ({"length": {"most": 3}}, "abc", None),
        ({"length": {"most": None}}, "abc", None),
        ({"length": {"most": 3}}, "abcd", "too_long"),
        ("length", "", None),
        ("repetition", "again and " * 500, "repetition"),
        ("repetition", PROSE, None),
        ("repetition", "", None),
        ({"repetition": {"least": 0.9}}, PROSE, "repetition"),
        ("gopher_quality", PROSE, None),
        ("gopher_quality", "Too short.", "gopher_short_doc"),
        ({"gopher_quality": {"min_doc_words": 2}}, "Too short.", "gopher_below_alpha_threshold"),
        ({"gopher_quality": {"min_doc_words": None}}, f"{PROSE[:150]}.", None),
        ("gopher_quality", "x = 1 ; " * 100, "gopher_below_avg_threshold"),
        ("gopher_repetition", VARIED, None),
        ("gopher_repetition", "The same line.\n" * 20, "dup_line_frac"),
        ("c4_quality", LINES, None),
        ("c4_quality", LINES + "\nWe write { x } for a set of one.", "curly_bracket"),
        ("c4_quality", "no end of a sentence here\n" * 9, "too_few_sentences"),
        ("fineweb_quality", LINES, None),
        ("fineweb_quality", "a line without an end\n" * 9, "line_punct_ratio"),
    ],
)
def test_each_filter(entry, text: str, reason: str | None) -> None:
    check(entry)
    assert make(entry)(text) == reason


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("gopher_qualty", "unknown filter 'gopher_qualty'; did you mean 'gopher_quality'"),
        ("lenght", "did you mean 'length'"),
        ({"length": {"leest": 3}}, "filter length: unknown setting 'leest'; did you mean 'least'"),
        ({"c4_quality": {"filter_lorem": True}}, "did you mean 'filter_lorem_ipsum'"),
        ({"c4_quality": {"language": "de"}}, "unknown setting 'language'"),
        ({"gopher_quality": {"exclusion_writer": None}}, "unknown setting 'exclusion_writer'"),
        ({"length": {}, "repetition": {}}, "a filter is a name, or one name with its settings"),
        ({}, "a filter is a name, or one name with its settings"),
        ({"length": 100}, "filter length: its settings are keys with values (got 100)"),
        ({"length": {"least": None}}, "filter length: least must be a number (got None)"),
        ({"repetition": {"least": None}}, "filter repetition: least must be a number (got None)"),
        (
            {"classifier": {"name": "sums", "least": None}},
            "filter classifier: least must be a number (got None)",
        ),
    ],
)
def test_an_unknown_filter_or_setting_names_the_nearest(entry, words: str) -> None:
    with pytest.raises(ValueError, match="filter") as error:
        check(entry)
    assert words in str(error.value)


def test_datatroves_filters_need_no_spacy_and_no_nltk() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("spacy", "nltk")))  # importing either fails
from data_prep.filters import make
for name in {[*OURS, *DATATROVE]}:
    make(name)("One sentence. Another one!")
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def rejected(entry, source: str) -> float:
    """Share of a sample of a source that a filter rejects."""
    found = texts(source)
    judge = make(entry)
    chosen = random.Random(0).sample(found, 80)
    return sum(judge(text) is not None for text in chosen) / len(chosen)


@pytest.mark.skipif(not IS_REAL, reason="needs real text: make test DATA=DIR")
def test_filters_of_prose_reject_mathematics_and_code() -> None:
    shares = {name: {s: rejected(name, s) for s in SOURCES} for name in DATATROVE}
    print(shares)
    for name, source, least in REJECTED:
        assert shares[name][source] >= least, (name, source)


REJECTED = [
    ("gopher_quality", "arxiv", 0.5),
    ("gopher_quality", "algebraic-stack", 0.5),
    ("c4_quality", "arxiv", 0.5),
    ("c4_quality", "algebraic-stack", 0.5),
]
"""The least share of a source that a filter for prose rejects."""


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", OURS)
def test_our_filters_keep_mathematics_and_code(name: str, source: str) -> None:
    judge = make(name)
    found = texts(source)
    assert sum(judge(text) is not None for text in found) <= 0.002 * len(found)
