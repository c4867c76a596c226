"""Planted duplicates are caught, other documents are kept, and no document is lost."""

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.corpus import SOURCES
from benchmarks.near_duplicates import changed
from data_prep.build import build
from data_prep.clean import normalise
from data_prep.recipe import BenchmarkQuestions, Executor
from data_prep.stages import artifacts
from data_prep.stages.duplicates import REASONS
from tests.support import planted
from tests.support.planted import decided, recipe, texts, unrelated
from tinymathreason.cli import InputError
from tinymathreason.files import read_json

KINDS = {
    "exact": (0.0, 1, 1),
    "2%": (0.02, 0.99, 1),
    "6%": (0.06, 0.95, 1),
    "50%": (0.5, 0, 0.02),
}
"""Kinds of copies: the share of words changed, and the least and the largest share caught."""
EACH = 50
"""Documents of each source with a copy of each kind, and without a copy."""
LONGEST = 20_000
"""Most characters of a document that is used, so that the tests take seconds."""


def planted_corpus(folder: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The place and the fate of every document. An id is the kind of copy, source, number and side.

    Half of the copies are in the source of their original, half in any source. Each file is
    shuffled, so either of the two may come first.
    """
    source = random.Random(0)
    files = {name: [[], [], []] for name in SOURCES}
    drawn = {
        name: source.sample([t for t in texts(name) if len(t) < LONGEST], 300) for name in SOURCES
    }
    alone = set(unrelated([text for name in SOURCES for text in drawn[name]]))
    # `unrelated` keeps one of several equal texts, from the first source that has it.
    for name in SOURCES:
        base = [text for text in dict.fromkeys(drawn[name]) if text in alone]
        base = base[: EACH * (len(KINDS) + 1)]
        alone -= {*drawn[name]}
        assert len(base) >= 4 * EACH
        words = [word for text in base for word in text.split()]
        for number, text in enumerate(base):
            kind = [*KINDS, "none"][number % (len(KINDS) + 1)]
            row = {"id": f"{kind} {name} {number} original", "text": text}
            source.choice(files[name]).append(row)
            if kind != "none":
                other = name if source.random() < 0.5 else source.choice(list(SOURCES))
                copy = changed(text, KINDS[kind][0], source, words)
                row = {"id": f"{kind} {name} {number} copy", "text": copy}
                source.choice(files[other]).append(row)
    for parts in files.values():
        for rows in parts:
            source.shuffle(rows)
    order = [row["id"] for parts in files.values() for rows in parts for row in rows]
    _, fates = decided(recipe(folder, files), folder / "work")
    return {identity: place for place, identity in enumerate(order)}, fates


def partner(identity: str) -> str:
    rest, side = identity.rsplit(" ", 1)
    return f"{rest} {'copy' if side == 'original' else 'original'}"


def test_planted_copies_are_caught_and_nothing_else(tmp_path) -> None:
    place, fates = planted_corpus(tmp_path)
    assert set(place) == set(fates)
    wrong = {i: fate for i, fate in fates.items() if fate is not None and fate[1] != partner(i)}
    assert wrong == {}  # no document is lost to an unrelated one
    for kind, (_, least, most) in KINDS.items():
        originals = [i for i in place if i.startswith(f"{kind} ") and i.endswith("original")]
        assert len(originals) >= 3.9 * EACH
        caught = 0
        for original in originals:
            first, second = sorted((original, partner(original)), key=place.get)
            # The earlier one always stays, and the later one is rejected as its duplicate.
            assert fates[first] is None
            if fates[second] is not None:
                caught += 1
                reason = "exact_duplicate" if kind == "exact" else "near_duplicate"
                assert fates[second] == (reason, first)
        assert least <= caught / len(originals) <= most, kind


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_earlier_source_keeps_the_document(tmp_path, order) -> None:
    source = random.Random(1)
    base = unrelated(source.sample(texts("open-web-math"), 30))[:20]
    words = " ".join(base).split()
    copies = [changed(text, 0.03 * (k % 2), source, words) for k, text in enumerate(base)]
    rows = {
        "a": [{"id": f"a{k}", "text": text} for k, text in enumerate(base)],
        "b": [{"id": f"b{k}", "text": text} for k, text in reversed([*enumerate(copies)])],
    }
    _, fates = decided(recipe(tmp_path, {n: [rows[n]] for n in order}), tmp_path / "work")
    first, second = order
    for k in range(20):
        assert fates[f"{first}{k}"] is None
        reason = "near_duplicate" if k % 2 else "exact_duplicate"
        assert fates[f"{second}{k}"] == (reason, f"{first}{k}")


def test_in_a_chain_each_rejected_document_is_similar_to_a_kept_one(
    tmp_path,
) -> None:
    """Each is similar to its neighbour, but not to the fourth one after it."""
    source = random.Random(2)
    words = " ".join(texts("fineweb-edu")[:30]).split()
    chain = [max(texts("fineweb-edu")[:50], key=len)]
    while len(chain) < 12:
        chain.append(changed(chain[-1], 0.07, source, words))
    rows = [{"id": str(k), "text": text} for k, text in enumerate(chain)]
    _, fates = decided(recipe(tmp_path, {"s": [rows[:5], rows[5:]]}), tmp_path / "work")
    kept = [k for k in range(12) if fates[str(k)] is None]
    assert 2 <= len(kept) <= 6
    for k in range(12):
        if fates[str(k)] is not None:
            reason, of = fates[str(k)]
            assert reason == "near_duplicate"
            assert planted.jaccard(chain[k], chain[int(of)]) > 0.4


def test_an_id_repeated_in_a_source_is_an_error_or_counted(tmp_path) -> None:
    rows = [{"id": "x", "text": "one thing"}, {"id": "y", "text": "another"}]
    more = [{"id": "z", "text": "a third matter"}, {"id": "x", "text": "something else entirely"}]
    strict = recipe(tmp_path / "1", {"s": [rows, more]})
    with pytest.raises(
        InputError, match=r"001\.jsonl: row 1: has the same id as .*000\.jsonl: row"
    ):
        decided(strict, tmp_path / "1" / "work")
    loose = recipe(tmp_path / "2", {"s": [rows, more], "t": [more[1:]]}, on_bad_input="skip")
    work, fates = decided(loose, tmp_path / "2" / "work")
    assert [len(work.tasks_of("s")), len(work.tasks_of("t"))] == [2, 1]
    # The same id in another source is no mistake; that document is an exact duplicate.
    assert fates["z"] is None
    assert counts(work, "s") == {"duplicate_id": 1}
    assert counts(work, "t") == {}


def test_the_strongest_reason_is_reported(tmp_path) -> None:
    """A row with one document's text and another's id counts as an exact duplicate."""
    rows = [{"id": "x", "text": "one thing"}, {"id": "y", "text": "another matter"}]
    again = [{"id": "y", "text": "one thing"}]
    made = recipe(tmp_path, {"s": [rows, again]}, on_bad_input="skip")
    work, _ = decided(made, tmp_path / "work")
    assert counts(work, "s") == {"exact_duplicate": 1}


def counts(work, name: str) -> Counter[str]:
    """The rejected documents of a source, by reason, after the decisions."""
    found: Counter[str] = Counter()
    for task in work.tasks_of(name):
        found.update(read_json(work.path(artifacts.DOCUMENT_COUNTS, task.number))["rejected"])
        kinds = np.load(work.path(artifacts.DECISIONS, part=task.number))["kind"]
        found.update(REASONS[kind] for kind in kinds.tolist())
    return found


LONG = " ".join(f"word{k} and" for k in range(40))
POOL = [
    *("", " \n", "a", "a ", "A", "b", "a b", "b a", "...", "!", "7", "8", "\u00e9", "e\u0301"),
    *(LONG, LONG.upper(), LONG.replace("word7 ", "other "), LONG + " end", LONG + " 1 2 3"),
    *("What is 1 + 1? " + LONG, "another question entirely, what is 1 + 1?"),
]
FILES = st.lists(st.lists(st.sampled_from(POOL), max_size=6), min_size=1, max_size=3)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(FILES, min_size=1, max_size=3), st.integers(1, 3), st.booleans())
def test_every_document_is_kept_or_rejected_for_a_reason(corpus, ranges: int, near: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {
            f"s{s}": [
                [{"id": f"{s}.{f}.{k}", "text": text} for k, text in enumerate(rows)]
                for f, rows in enumerate(files)
            ]
            for s, files in enumerate(corpus)
        }
        rows = [row for files in sources.values() for file in files for row in file]
        text = {row["id"]: normalise(row["text"]) for row in rows}
        work, fates = decided(
            recipe(folder, sources, on_bad_input="skip", near_duplicates=near),
            folder / "work",
            ranges,
        )
        assert set(fates) == set(text)
        for name, files in sources.items():
            ids = [row["id"] for file in files for row in file]
            read = sum(
                read_json(work.path(artifacts.DOCUMENT_COUNTS, task.number))["read"]
                for task in work.tasks_of(name)
            )
            kept = sum(fates[identity] is None for identity in ids)
            assert read == len(ids) == kept + counts(work, name).total()
    place = {identity: k for k, identity in enumerate(text)}
    for identity, fate in fates.items():
        if fate is None:
            assert text[identity]
            continue
        reason, of = fate
        if reason == "empty":
            assert (text[identity], of) == ("", None)
            continue
        assert fates[of] is None
        assert place[of] < place[identity]
        assert (reason == "exact_duplicate") == (text[of] == text[identity])
        assert near or reason == "exact_duplicate"
    kept = [text[identity] for identity, fate in fates.items() if fate is None]
    assert len(set(kept)) == len(kept)
    if not near:
        assert set(kept) == set(text.values()) - {""}


def test_the_decisions_do_not_depend_on_the_number_of_ranges(tmp_path) -> None:
    source = random.Random(3)
    base = source.sample(texts("algebraic-stack"), 40)
    words = " ".join(base).split()
    rows = [{"id": str(k), "text": text} for k, text in enumerate(base)]
    rows += [
        {"id": f"copy {k}", "text": changed(t, 0.04, source, words)} for k, t in enumerate(base)
    ]
    made = recipe(tmp_path, {"s": [rows[:50], rows[50:]]})
    found = [decided(made, tmp_path / f"work{ranges}", ranges)[1] for ranges in (1, 2, 7)]
    assert found[0] == found[1] == found[2]
    assert sum(fate is not None for fate in found[0].values()) >= 39


def test_a_whole_build_reports_what_it_rejected(tmp_path) -> None:
    base = unrelated(texts("arxiv")[:40])[:30]
    source = random.Random(4)
    near = [changed(text, 0.02, source, " ".join(base).split()) for text in base[:10]]
    question, _ = planted.problems("test")[0]
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "test.jsonl").write_text(json.dumps({"question": question}) + "\n")
    made = recipe(
        tmp_path,
        {
            "first": [[{"id": f"base {k}", "text": text} for k, text in enumerate(base)]],
            "second": [
                [{"id": f"own {k}", "text": f"Text number {k} of its own."} for k in range(30)],
                [{"id": f"same {k}", "text": text} for k, text in enumerate(base[10:20])],
                [{"id": f"near {k}", "text": text} for k, text in enumerate(near)],
                [{"id": "own again", "text": "Text number 3 of its own."}],
                [{"id": "asked", "text": f"Say: {question} Well?"}],
            ],
        },
        eval_fraction=0.2,
        executor=Executor(workers=1),
        decontaminate=[BenchmarkQuestions(path=f"{tmp_path}/asked/*", fields=["question"])],
    )
    manifest = build(made).as_json()
    documents = {name: entry["documents"] for name, entry in manifest["sources"].items()}
    assert documents == {
        "first": {"read": 30, "kept": 30, "rejected": {}},
        "second": {
            "read": 52,
            "kept": 30,
            "rejected": {"contaminated": 1, "exact_duplicate": 11, "near_duplicate": 10},
        },
    }
    stored = (tmp_path / "mixture" / "rejected" / "second.jsonl.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().stream_reader(stored).read().decode().splitlines()
    found = {line["id"]: line for line in map(json.loads, lines)}
    assert len(found) == 22
    assert found["asked"]["question"] == question
    for k in range(10):
        assert (found[f"same {k}"]["duplicate_of"], found[f"near {k}"]["duplicate_of"]) == (
            f"base {10 + k}",
            f"base {k}",
        )
        assert found[f"near {k}"]["duplicate_of_source"] == "first"

    tokenizer = tokenizers.Tokenizer.from_file(f"{tmp_path}/mixture/tokenizer/tokenizer.json")
    copies = [*base[10:20], *near]
    removed = {
        "first": {"documents": 20, "tokens": sum(len(tokenizer.encode(t)) + 1 for t in copies)},
        "second": {
            "documents": 1,
            "tokens": len(tokenizer.encode("Text number 3 of its own.")) + 1,
        },
    }
    assert manifest["sources"]["first"]["duplicates"] == {}
    assert manifest["sources"]["second"]["duplicates"] == removed
    report = (tmp_path / "mixture" / "report.md").read_text()
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in report.splitlines()]
    for of, each in removed.items():
        assert ["second", of, f"{each['documents']:,}", f"{each['tokens']:,}"] in cells
    left = {name: entry["tokens"] for name, entry in manifest["sources"].items()}
    before = left["second"] + sum(each["tokens"] for each in removed.values())
    counts = (removed["second"]["tokens"], removed["first"]["tokens"], left["second"])
    assert [
        "second",
        f"{before:,}",
        *(f"{count:,} ({count / before:.2%})" for count in counts),
    ] in cells
    untouched = f"{left['first']:,}"
    assert ["first", untouched, "0 (0.00%)", "0 (0.00%)", f"{untouched} (100.00%)"] in cells
