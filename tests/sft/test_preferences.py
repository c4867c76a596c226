"""Pairs are a right and a wrong answer of one problem; killing the sampling changes no byte."""

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft import preferences
from sft.preferences import MANIFEST, PAIRS, SAMPLES, SampledProblem
from sft.sampler import Sample, Sampler, tokens
from tests.support import scripted
from tinymathreason.answers import read_final
from tinymathreason.chat import Chat
from tinymathreason.chatml import EOS, IM_END, SPECIAL_TOKENS, TEMPLATE
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIG = """
model_name_or_path: {model}
output_dir: {output}
sources:
  problems: {{format: arithmetic, examples: 12}}
sampling: {{samples: 4, max_new_tokens: 8, batch_size: 16}}
pairs_per_problem: 2
max_length: 256
activation_checkpointing: false
use_cpu: true
"""

STOP = SPECIAL_TOKENS.index("<|reserved_1|>")

texts = st.sampled_from(
    ["#### 7", "7", "steps\n#### 7", "#### 7.00", "#### 8", "#### 7\n#### 8", "#### 8\n#### 7", ""]
)
samples = st.builds(Sample, texts, st.sampled_from([None, None, None, "unended", "inexact"]))
RIGHT = {"#### 7", "steps\n#### 7", "#### 7.00", "#### 7\n#### 8"}


@given(st.lists(samples, max_size=12), st.integers(1, 6))
def test_pairs_are_right_against_wrong_and_counts_conserve_samples(found, most) -> None:
    pairs, counts = SampledProblem("q", "7", found).pairs(most)
    usable = {sample.text for sample in found if sample.flaw is None}
    right, wrong = usable & RIGHT, usable - RIGHT
    assert all(chosen in right and rejected in wrong for chosen, rejected in pairs)
    assert len(set(pairs)) == len(pairs) <= most
    assert bool(pairs) == bool(right and wrong)
    if pairs and most >= max(len(right), len(wrong)):
        assert {chosen for chosen, _ in pairs} == right
        assert {rejected for _, rejected in pairs} == wrong
    assert counts["correct"] == sum(sample.text in RIGHT for sample in found)
    assert counts["correct"] + counts["incorrect"] == len(found)
    flawed = Counter(sample.flaw for sample in found if sample.flaw)
    assert {flaw: counts[flaw] for flaw in flawed} == flawed
    assert counts["usable"] == len(usable)
    assert counts["usable"] + counts["repeated"] + flawed.total() == len(found)


def test_no_text_is_in_two_pairs_while_another_is_in_none() -> None:
    found = [Sample(f"{n}\n#### {7 if n < 2 else 8}") for n in range(6)]
    pairs, _ = SampledProblem("q", "7", found).pairs(3)
    assert len({rejected for _, rejected in pairs}) == 3
    assert len({chosen for chosen, _ in pairs}) == 2


class Made:
    """A stand-in for a model: of each question some answers are right, by the seed."""

    calls: ClassVar[list[int]] = []

    def __init__(self, folder, chat, sampling) -> None:
        self.samples = sampling.samples

    def __call__(self, questions, seed):
        Made.calls.append(seed)
        return [
            [Sample(f"{question[:3]} {seed}\n#### {i}") for i in range(self.samples)]
            for question in questions
        ]


def test_samples_end_as_the_template_does_and_obey_no_setting_of_the_folder(
    model_dir, tmp_path, capsys
) -> None:
    from sft.config import Sampling
    from sft.model import load_tokenizer

    folder = scripted.write(model_dir, tmp_path / "model")
    asked = {"eos_token_id": 1, "min_new_tokens": 25, "no_repeat_ngram_size": 1, "top_k": 1}
    (folder / "generation_config.json").write_text(json.dumps(asked))
    tokenizer = load_tokenizer(str(folder), TEMPLATE)
    sampling = Sampling(samples=2, temperature=1e-3, max_new_tokens=30)
    sampler = Sampler(folder, Chat(tokenizer, tokenizer.chat_template), sampling)
    expected = [[Sample(text)] * 2 for text in ("4DCBA", "5CBA", "8HGFEDCBA")]
    assert sampler(["Is it 4?", "So, is it 5?", "8!"], 0) == expected
    assert [sampler([question], 1)[0] for question in ("Is it 4?", "So, is it 5?")] == expected[:2]
    assert "min_new_tokens 25, no_repeat_ngram_size 1, top_k 1" in capsys.readouterr().out


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_samples_are_the_same_with_each_cache_and_in_halves(
    model_dir, tmp_path, monkeypatch, cache
) -> None:
    import torch
    from transformers import LlamaForCausalLM

    from sft.config import Sampling
    from sft.model import load_tokenizer

    folder = scripted.write(model_dir, tmp_path / "model")
    tokenizer = load_tokenizer(str(folder), TEMPLATE)
    sampling = Sampling(samples=2, temperature=1e-3, max_new_tokens=30, cache=cache)
    sampler = Sampler(folder, Chat(tokenizer, tokenizer.chat_template), sampling)
    expected = [[Sample(text)] * 2 for text in ("4DCBA", "5CBA", "8HGFEDCBA")]
    assert sampler(["Is it 4?", "So, is it 5?", "8!"], 0) == expected
    assert sampler.generated == 2 * sum(len(row[0].text) + 1 for row in expected)
    generate, caches, rows = LlamaForCausalLM.generate, [], []

    def short(model, input_ids, **inputs):
        rows.append(len(input_ids))
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError
        caches.append(model.generation_config.cache_implementation)
        return generate(model, input_ids=input_ids, **inputs)

    monkeypatch.setattr(LlamaForCausalLM, "generate", short)
    assert sampler(["Is it 4?", "So, is it 5?", "8!"], 0) == expected
    assert rows == [3, 2, 1, 1, 1]
    assert caches == [cache] * 3


def test_the_cache_and_the_batch_follow_the_device(model_dir, monkeypatch) -> None:
    import torch

    from sft.config import Sampling
    from sft.sampler import MOST, ON_CPU, STATIC, batch_size, cache_kind

    assert cache_kind("auto", "cpu", 8) == cache_kind("auto", "cuda", STATIC + 1) == "dynamic"
    assert cache_kind("auto", "cuda", STATIC) == cache_kind("static", "cpu", 8) == "static"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert batch_size(model_dir, Sampling(), 50) == ON_CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for memory, rows in ((8 * 10**10, [MOST, MOST]), (2 * 10**8, [568, 88])):
        card = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, card=card: card)
        assert [
            batch_size(model_dir, Sampling(), 50),
            batch_size(model_dir, Sampling(), 500),
        ] == rows
    assert batch_size(model_dir, Sampling(batch_size=7), 50) == 7


def test_a_sample_ends_with_the_token_of_its_own_template(model_dir, tmp_path) -> None:
    """It is not our own, and pads as well. The model's other end is not the template's."""
    from transformers import AutoTokenizer

    from sft.config import Sampling

    turn, end = "<|reserved_0|>", "<|reserved_1|>"
    folder = scripted.write(model_dir, tmp_path / "model", {"A": end, "C": EOS})
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, STOP]}))
    tokenizer = AutoTokenizer.from_pretrained(folder, pad_token=end)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, STOP)
    template = TEMPLATE.read_text().replace("<|im_start|>", turn).replace(IM_END, end)
    tokenizer.chat_template = template
    chat = Chat(tokenizer, template)
    sampler = Sampler(folder, chat, Sampling(samples=2, temperature=1e-3, max_new_tokens=30))
    ended, unended = Sample("6BA"), Sample("4D" + "C", "unended")
    assert sampler(["Is it 6?", "So, so, is it 4?"], 0) == [[ended] * 2, [unended] * 2]
    assert tokens(chat, "So?", "6BA")[1][-1] == STOP


def write(tmp_path, model, name: str = "out", more: str = "") -> list[str]:
    path = tmp_path / f"{name}.yaml"
    path.write_text(CONFIG.format(model=model, output=tmp_path / name) + more)
    return ["--config", str(path)]


@pytest.fixture
def made(monkeypatch):
    """Answers 0 to 3 to every problem; every problem's right answer is 1, 2 or none of them."""
    monkeypatch.setattr(preferences, "Sampler", Made)
    monkeypatch.setattr("sft.problems.load", lambda *_: (list(map(problem, range(12))), {}))
    Made.calls.clear()


def problem(number: int):
    from sft.problems import Problem

    answers = ["1", "2.0", "1,000", "\\frac{1}{2}"]
    return Problem(f"Question {number} of twelve?", answers[number % 4])


@lru_cache
def content(folder: Path, name: str) -> bytes:
    return (folder / "pairs" / name).read_bytes()


def test_rows_are_trls_preferences_and_the_manifest_counts_them(
    model_dir, tmp_path, made, capsys
) -> None:
    preferences.main(write(tmp_path, model_dir))
    rows = [json.loads(line) for line in content(tmp_path / "out", PAIRS).splitlines()]
    right = {problem(n).question: problem(n).answer for n in range(12)}
    for row in rows:
        assert [[m["role"] for m in row[key]] for key in ("prompt", "chosen", "rejected")] == [
            ["user"],
            ["assistant"],
            ["assistant"],
        ]
        answer = float(right[row["prompt"][0]["content"]])
        assert float(read_final(row["chosen"][0]["content"])) == answer
        assert float(read_final(row["rejected"][0]["content"])) != answer
    counts = json.loads(content(tmp_path / "out", MANIFEST))["counts"]
    assert counts == {
        "problems": {"paired": 6, "all_wrong": 3},
        "left_out": {"no_number": 3},
        "samples": {"correct": 6, "incorrect": 30, "usable": 36},
        "pairs": {"written": len(rows)},
    }
    assert len(rows) == 6 * 2
    assert len(content(tmp_path / "out", SAMPLES).splitlines()) == 9
    assert "16.7% of 36 samples are right" in capsys.readouterr().out


def test_killed_and_resumed_equals_uninterrupted(model_dir, tmp_path, made, monkeypatch) -> None:
    preferences.main(write(tmp_path, model_dir, "whole"))
    seeds = list(Made.calls)
    assert len(set(seeds)) == 3

    def killed(self, questions, seed):
        if seed == seeds[2]:
            raise KeyboardInterrupt
        return answer(self, questions, seed)

    answer = Made.__call__
    Made.calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Made, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            preferences.main(write(tmp_path, model_dir, "broken"))
    assert not (tmp_path / "broken" / "pairs").exists()
    preferences.main(write(tmp_path, model_dir, "broken"))
    assert Made.calls == seeds
    for name in (PAIRS, SAMPLES):
        assert content(tmp_path / "broken", name) == content(tmp_path / "whole", name)
    assert [path.name for path in (tmp_path / "broken").iterdir()] == ["pairs"]


def test_pairs_are_made_anew_only_when_stale(model_dir, tmp_path, made) -> None:
    arguments = write(tmp_path, model_dir)
    preferences.main(arguments)
    first = (tmp_path / "out" / "pairs" / PAIRS).read_bytes()
    preferences.main(arguments)
    assert len(Made.calls) == 3
    preferences.main([*arguments, "sampling.seed=1"])
    assert len(Made.calls) == 6
    assert (tmp_path / "out" / "pairs" / PAIRS).read_bytes() != first


def test_a_flipped_bit_in_the_pairs_is_noticed(model_dir, tmp_path, made) -> None:
    preferences.main(write(tmp_path, model_dir))
    folder = tmp_path / "out" / "pairs"
    pairs = (folder / PAIRS).read_bytes()
    assert preferences.read_pairs(folder) == pairs
    middle = len(pairs) // 2
    (folder / PAIRS).write_bytes(pairs[:middle] + bytes([pairs[middle] ^ 1]) + pairs[middle + 1 :])
    with pytest.raises(InputError, match=r"pairs\.jsonl is damaged; remove .*/out/pairs to make"):
        preferences.read_pairs(folder)


def test_batches_of_another_sampling_are_not_taken(model_dir, tmp_path, made) -> None:
    work = tmp_path / "out" / "pairs.sampling"
    work.mkdir(parents=True)
    (work / MANIFEST).write_text("{}")
    (work / "000000.json").write_text("[[]]")
    preferences.main(write(tmp_path, model_dir))
    assert len(Made.calls) == 3


def test_a_problem_whose_answer_could_be_cut_is_left_out(model_dir, tmp_path, made) -> None:
    with pytest.raises(InputError, match="no problem has a right and a wrong answer"):
        preferences.main([*write(tmp_path, model_dir), "--max_length", "10"])
    assert not (tmp_path / "out" / "pairs").exists()


@pytest.fixture
def chat(model_dir):
    from sft.model import load_tokenizer

    tokenizer = load_tokenizer(str(model_dir), TEMPLATE)
    return Chat(tokenizer, tokenizer.chat_template)


@pytest.mark.processor
def test_a_model_samples_the_same_for_a_seed_and_batches_do_not_mix(model_dir, chat) -> None:
    from sft.config import Sampling

    sampler = Sampler(model_dir, chat, Sampling(samples=3, max_new_tokens=6))
    questions = ["2 + 2?", "What is three times seven, minus one?"]
    first = sampler(questions, 5)
    assert [len(found) for found in first] == [3, 3]
    assert sampler(questions, 5) == first
    assert sampler(questions, 6) != first


def test_what_the_template_would_not_give_back_is_a_flaw(model_dir, chat) -> None:
    from sft.config import Sampling

    sampler = Sampler(model_dir, chat, Sampling())
    stop = chat.tokenizer.convert_tokens_to_ids(IM_END)
    start = chat.tokenizer.convert_tokens_to_ids("<|im_start|>")
    pad, end = chat.tokenizer.pad_token_id, chat.tokenizer.eos_token_id
    said = tokens(chat, "2 + 2?", "It is four.\n#### 4")[1]
    assert said[-1] == stop
    for ids, flaw in (
        ([*said, pad, pad], None),
        (said[:-1], "unended"),
        ([*said[:-1], end, pad], "unended"),
        ([start, *said], "inexact"),
    ):
        sample = sampler._read("2 + 2?", ids)
        assert sample.flaw == flaw
        assert sample.text.endswith("It is four.\n#### 4")


def test_it_refuses_a_second_process_and_a_foreign_folder(model_dir, tmp_path, made) -> None:
    from tinymathreason.files import locked

    with (
        locked(tmp_path / "out" / "pairs.sampling", "sampling"),
        pytest.raises(InputError, match="another process is sampling"),
    ):
        preferences.main(write(tmp_path, model_dir))
    (tmp_path / "out" / "pairs").mkdir()
    with pytest.raises(InputError, match=r"is not, or not only, made by sft\.preferences"):
        preferences.main(write(tmp_path, model_dir))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sampling.samples=1"], "samples must be at least 2, for a pair"),
        (["sampling.temperature=0"], "temperature must be above 0"),
        (["sampling.top_q=1"], "did you mean 'top_p'"),
        (["pairs_per_problem=0"], "pairs_per_problem must be at least 1"),
        (["--model_name_or_path", "org/name"], "org/name@main: no such folder"),
    ],
)
def test_bad_input_is_one_line(model_dir, tmp_path, arguments, words) -> None:
    with pytest.raises(InputError) as error:
        preferences.main([*write(tmp_path, model_dir), *arguments])
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()
