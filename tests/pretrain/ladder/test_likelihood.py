"""Held-out losses and likelihoods of gold solutions, against their definitions."""

import json
import math
from pathlib import Path

import pytest

from data_prep.stages.records import encode, writer
from pretrain.ladder import likelihood
from tests.support import records
from tinymathreason import arithmetic
from tinymathreason.cli import InputError


@pytest.fixture(scope="module")
def lm(model_dir):
    """lm-eval's model of a tiny model with random weights and a context of 256 tokens."""
    from evaluation.model import open_lm

    return open_lm(model_dir, "transformers", 8)


def losses(lm, ids: list[int], first: int) -> list[float]:
    """Minus the log probability of each token from the one numbered ``first`` on."""
    import torch

    with torch.inference_mode():
        logits = lm.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [-float(logits[i - 1, ids[i]]) for i in range(first, len(ids))]


def test_a_solutions_bits_are_those_of_its_tokens(lm) -> None:
    pairs = likelihood.gold("arithmetic", None, 3)
    bits, size = 0.0, 0
    for prompt, solution in pairs:
        start = len(lm.tok_encode(prompt))
        bits += sum(losses(lm, lm.tok_encode(prompt + solution), start)) / math.log(2)
        size += len(solution.encode())
    found = likelihood.solutions(lm, "arithmetic", pairs)
    assert found.bits_per_byte == pytest.approx(bits / size, rel=1e-4)
    assert (found.problems, found.bytes, found.left_out) == (3, size, 0)


def test_problems_that_do_not_fit_are_left_out(lm) -> None:
    pairs = likelihood.gold("arithmetic", None, 2)
    long = ("Question: " + "x" * 2_000, " y")
    assert likelihood.solutions(lm, "t", [*pairs, long]).left_out == 1
    with pytest.raises(InputError, match="t: no problem fits a context of 256 tokens"):
        likelihood.solutions(lm, "t", [long])


def test_documents_and_parts_do_not_see_one_another(lm) -> None:
    short, long = list(range(5, 25)), [7 + i % 30 for i in range(300)]
    parts = [short, long[: lm.max_length], long[lm.max_length :]]
    expected = [loss for part in parts for loss in losses(lm, part, 1)]
    found = likelihood.held_out(lm, [short, long])
    assert found.tokens == len(expected) == 20 + 300 - 3
    assert found.nats_per_token == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    assert found.bytes == sum(len(lm.tokenizer.decode(d).encode()) for d in (short, long))


def test_held_out_documents_up_to_a_number_of_tokens(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    with pytest.raises(InputError, match="no held-out document; raise eval_fraction"):
        likelihood.documents(tmp_path, "web", 100)
    out = writer(tmp_path / "web" / "eval-00000-of-00001.array_record")
    for length in (10, 20, 30):
        out.write(encode(list(range(length))))
    out.close()
    assert [len(d) for d in likelihood.documents(tmp_path, "web", 1_000)] == [10, 20, 30]
    assert [len(d) for d in likelihood.documents(tmp_path, "web", 25)] == [10, 15]


def test_gold_solutions_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    row = {"question": "How many?", "answer": "It is 2+3=<<2+3=5>>5.\n#### 5"}
    path.write_text(json.dumps(row) + "\n")
    assert likelihood.gold("gsm8k", str(path), 9) == [
        (arithmetic.plain_problem("How many?", ""), " It is 2+3=5.\n#### 5")
    ]
    with pytest.raises(InputError, match="unknown 'gsm9k'; did you mean 'gsm8k'"):
        likelihood.gold("gsm9k", None, 1)


def test_the_command(model_dir, tmp_path: Path, capsys) -> None:
    mixture = tmp_path / "mixture"
    records.mixture().write(mixture / "manifest.json")
    (mixture / "web").mkdir()
    out = writer(mixture / "web" / "eval-00000-of-00001.array_record")
    out.write(encode(list(range(4, 40))))
    out.close()
    output = tmp_path / "likelihood.json"
    arguments = ["--model", model_dir, "--mixture", mixture, "--output", output]
    likelihood.main([*map(str, arguments), "--task", "arithmetic:2"])
    record = likelihood.Likelihood.load(output)
    assert record.sources["web"].tokens == 35
    assert record.tasks["arithmetic"].problems == 2
    assert "bits a byte, 2 solutions" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected NAME:PROBLEMS"):
        likelihood.main([*map(str, arguments), "--task", "arithmetic"])
