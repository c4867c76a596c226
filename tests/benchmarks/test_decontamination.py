"""Every rule of the comparison finds what it says it finds."""

import random

import pytest

from benchmarks.decontamination import THRESHOLDS, measured, planted, within
from benchmarks.decontamination_rules import datatrove, gpt3, ours, strict, tulu
from data_prep.contamination import LONG_SHARE

QUESTION = (
    "A gardener plants tulips in seven long rows behind the old stone barn, and every row holds "
    "40 bulbs that he bought in spring. How many bulbs did the gardener plant behind the barn?"
)
SOLUTION = (
    "Each of the seven rows holds 40 bulbs, so the gardener planted 7 * 40 = 280 bulbs behind the "
    "barn.\n#### 280"
)
TEXTS = {
    "question": QUESTION,
    "solution": SOLUTION,
    "other numbers": QUESTION.replace("40", "61"),
    "three fifths": QUESTION[: 3 * len(QUESTION) // 5],
    "a short part": "Then the gardener plants tulips in seven long rows behind the red shed.",
    "every sixth word": "".join(
        f" xyz {word}" if k % 6 == 0 else f" {word}" for k, word in enumerate(QUESTION.split())
    ),
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexes")
    problems = [(QUESTION, SOLUTION)]
    made = [ours(problems), strict(problems), gpt3(problems), tulu(problems)]
    made += [datatrove(problems, folder / str(flag), flag) for flag in (False, True)]
    return {rule.name: rule for rule in made}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ours", {"question", "other numbers", "three fifths"}),
        ("strict", {"question", "other numbers"}),
        # Any 13 words in a row are enough, of the solution too.
        ("gpt3", {"question", "solution", "other numbers", "three fifths"}),
        ("tulu3", {"question", "other numbers", "three fifths"}),
        # Numbers are all alike, and a question alone is not searched.
        ("datatrove", {"solution"}),
        ("datatrove_with_questions", {"question", "solution", "other numbers", "three fifths"}),
    ],
)
def test_each_rule_finds_its_texts(rules, name: str, found: set[str]) -> None:
    rule = rules[name]
    assert {text for text, body in TEXTS.items() if rule.score(body) >= rule.threshold} == found


def test_the_curve_falls_and_meets_the_threshold(rules) -> None:
    line = measured(list(rules.values()), list(TEXTS.values()))
    curve = line["ours_curve"]
    assert line["texts"] == len(TEXTS)
    assert line["ours_found"] == round(curve[str(LONG_SHARE)] * len(TEXTS))
    assert list(curve) == [str(threshold) for threshold in THRESHOLDS]
    assert list(curve.values()) == sorted(curve.values(), reverse=True)
    assert "gpt3_curve" not in line


def test_problems_are_planted_whole_alone_and_solved() -> None:
    document = " ".join(f"word{k}" for k in range(2000))
    cases = {(kind, form): texts for kind, form, texts in planted(
        [(QUESTION, SOLUTION)], [document], random.Random(0))}  # fmt: skip
    assert f"\n{QUESTION}\n" in cases["verbatim", "alone"][0]
    assert f"\n{QUESTION}\n{SOLUTION}\n" in cases["verbatim", "solved"][0]
    assert f"\n{SOLUTION}\n" in cases["solution_alone", "solved"][0]
    assert ("solution_alone", "alone") not in cases
    assert ("unanswered", "solved") not in cases
    assert within("x", ["short"], random.Random(0)) == "sh\nx\nort"
