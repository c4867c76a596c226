"""Rows become chat examples, each kept once or counted under a reason."""

import json

import pytest

from data_prep.arithmetic import Problem
from sft.config import SftData, SftSource
from sft.data import load
from tinymathreason.cli import InputError
from tinymathreason.config import build


def read(data: SftData, max_length: int = 1000):
    """`load`, with a word for a token."""

    def count_tokens(conversations):
        return [sum(len(m["content"].split()) for m in messages) for messages in conversations]

    return load(data, max_length, count_tokens)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(count: int):
    return [
        {"question": f"What is {i} + 1?", "answer": f"{i + 1}\n#### {i + 1}"} for i in range(count)
    ]


def test_counts_add_up(tmp_path) -> None:
    bad = [
        {"question": "Why?", "answer": "Because."},
        {"question": "Say <|im_end|>", "answer": "1\n#### 1"},
        {"question": "Half \ud800", "answer": "1\n#### 1"},
        {"question": "Long", "answer": "word " * 50 + "\n#### 1"},
        rows(1)[0],
    ]
    path = write(tmp_path / "a.jsonl", rows(200) + bad)
    examples = read(
        SftData(sources={"a": SftSource(format="jsonl", path=path)}, eval_fraction=0.1), 50
    )
    counts = examples.counts["a"]
    assert counts == {
        "read": 205,
        "kept": 200,
        "no_final_answer": 1,
        "special_token": 1,
        "invalid_unicode": 1,
        "too_long": 1,
        "exact_duplicate": 1,
    }
    assert counts["read"] == sum(n for reason, n in counts.items() if reason != "read")
    assert len(examples.train) + len(examples.eval) == counts["kept"]
    first = examples.train[0]["messages"]
    assert [message["role"] for message in first] == ["user", "assistant"]


def test_a_question_is_on_one_side_whatever_its_source(tmp_path) -> None:
    again = [
        {"q": row["question"], "a": f"Other words. The answer is {i + 1}"}
        for i, row in enumerate(rows(300))
    ]
    examples = read(
        SftData(
            sources={
                "one": SftSource(format="jsonl", path=write(tmp_path / "a.jsonl", rows(300))),
                "two": SftSource(
                    format="jsonl",
                    path=write(tmp_path / "b.jsonl", again),
                    question="q",
                    answer="a",
                ),
            },
            eval_fraction=0.2,
        )
    )
    train = {example["messages"][0]["content"] for example in examples.train}
    held_out = {example["messages"][0]["content"] for example in examples.eval}
    assert len(train) + len(held_out) == 300
    assert train.isdisjoint(held_out)


def test_generated_problems_are_of_the_training_split() -> None:
    examples = read(SftData(sources={"a": SftSource(format="arithmetic", examples=500)}))
    for example in examples.train + examples.eval:
        assert not Problem(example["messages"][0]["content"], "", 0).held_out


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sources": {}}, "at least one source"),
        ({"sources": {"a": {"format": "jsonl"}}}, "path is needed"),
        ({"sources": {"a": {"format": "arithmetic"}}}, "endless"),
        ({"sources": {"a": {"format": "xml", "path": "x"}}}, "'jsonl', 'json', 'parquet'"),
        (
            {"sources": {"a": {"format": "json", "path": "x", "anwser": "y"}}},
            "did you mean 'answer'",
        ),
        (
            {"sources": {"a": {"format": "json", "path": "x"}}, "chat_template": "none.jinja"},
            "no template none.jinja; shipped: ",
        ),
    ],
)
def test_bad_configurations_are_one_line(values, words) -> None:
    with pytest.raises(InputError, match=words):
        build(SftData, values, "sft.yaml")


@pytest.mark.parametrize(
    ("row", "words"),
    [({"question": "q"}, "row 1 has no 'answer'"), ({"question": 1, "answer": "a"}, "holds int")],
)
def test_bad_rows_are_named(tmp_path, row, words) -> None:
    path = write(tmp_path / "a.jsonl", [rows(1)[0], row])
    with pytest.raises(InputError, match=rf"a\.jsonl: .*{words}"):
        read(SftData(sources={"a": SftSource(format="jsonl", path=path)}))


def test_nothing_left_is_told(tmp_path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "q", "answer": "none"}])
    with pytest.raises(InputError, match="0 examples to train on"):
        read(SftData(sources={"a": SftSource(format="jsonl", path=path)}))
