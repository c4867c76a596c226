"""Problems are fixed, a result is complete or absent, and answers are not computed twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from evaluation import catalogue, model, tasks
from evaluation.generate import Generator
from evaluation.problems import ARITHMETIC_PROBLEMS, NumericProblem
from evaluation.run import main
from tests.support.benchmarks import Knows
from tests.support.limits import room_for
from tinymathreason import arithmetic
from tinymathreason.chatml import SPECIAL_TOKENS, TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.provenance import model_hash
from tinymathreason.records.evaluation import Results, SampleRecord

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_arithmetic_problems_are_held_out_and_fixed() -> None:
    problems = tasks.load("arithmetic")
    assert len(problems) == ARITHMETIC_PROBLEMS == len({p.question for p in problems})
    assert tasks.load("arithmetic", limit=10) == problems[:10]
    for problem in problems:
        assert arithmetic.WordProblem(problem.question, "", 0).held_out


@pytest.mark.parametrize(
    ("task", "content", "words"),
    [
        ("gsm9k", None, "unknown 'gsm9k'; did you mean 'gsm8k'"),
        ("gsm8k", None, "needs a file"),
        ("gsm8k", "", "no problem in it"),
        ("gsm8k", '{"question": "q"}\n', "row 0 has no 'answer'"),
        ("gsm8k", '{"question": "q", "answer": "5"}\n', "row 0 has no final line"),
        ("gsm8k", "{\n", "row 0 is not JSON"),
        ("arithmetic", "", "generates its own problems"),
    ],
)
def test_bad_tasks_are_one_line(tmp_path, task, content, words) -> None:
    data = None
    if content is not None:
        data = str(tmp_path / "test.jsonl")
        Path(data).write_text(content)
    with pytest.raises(InputError, match=words):
        tasks.load(task, data)


def test_gsm8k_answers(tmp_path) -> None:
    path = tmp_path / "test.jsonl"
    row = {"question": "How much?", "answer": "So <<1+1=2>>2.\n#### 1,234"}
    path.write_text(json.dumps(row) + "\n")
    expected = [NumericProblem("How much?", "1234")]
    assert tasks.load("gsm8k", str(path)) == expected
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "test.parquet")
    assert tasks.load("gsm8k", str(tmp_path / "test.parquet")) == expected


@pytest.fixture
def known(monkeypatch):
    """A stand-in for the model of every folder."""
    lm = Knows("{{ messages }}")
    monkeypatch.setattr(model, "open_lm", lambda *a: lm)
    monkeypatch.setattr(model, "load_tokenizer", lambda *a: lm.tokenizer)
    return lm


def test_wrong_data_is_told_before_the_weights_are_loaded(model_dir, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(model, "open_lm", lambda *a: pytest.fail("the weights are loaded"))
    data = tmp_path / "test.jsonl"
    data.write_text('{"question": "q"}\n')
    with pytest.raises(InputError, match="has no 'answer'"):
        main(["--model", str(model_dir), "--task", "gsm8k", "--data", str(data)])


def test_a_result_holds_what_others_need_to_measure_the_same(model_dir, tmp_path, known) -> None:
    main(["--model", str(model_dir), "--task", "arithmetic", "--limit", "3", "--output",
          str(tmp_path / "r")])  # fmt: skip
    result = Results.load(tmp_path / "r" / "results.json")
    needed = {"task", "metric", "value", "low", "high", "n", "shots", "form", "template_sha256",
              "prompt_version", "decoding", "model", "model_sha256", "request", "metrics",
              "seconds", "provenance"}  # fmt: skip
    assert result.as_json().keys() >= needed
    assert (result.request.data, result.request.limit) == (None, 3)
    assert result.model_sha256 == model_hash(model_dir)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]
    samples = list(SampleRecord.load_lines(tmp_path / "r" / "samples.jsonl"))
    assert [sample.question for sample in samples] == [
        problem.question for problem in tasks.load("arithmetic", limit=3)
    ]


def test_a_complete_result_is_only_read_and_anothers_is_refused(
    model_dir, tmp_path, known, capsys
) -> None:
    command = ["--model", str(model_dir), "--task", "arithmetic", "--output", str(tmp_path / "r")]
    main([*command, "--limit", "3"])
    main([*command, "--limit", "3"])
    assert "was already complete" in capsys.readouterr().out
    assert len(known.batches) == 1
    for change in (["--limit", "4"], ["--limit", "3", "--seed", "1"], ["--form", "plain"]):
        with pytest.raises(InputError, match="holds the result of another evaluation"):
            main([*command, "--limit", "3", *change])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="exists and has no result; name another folder"):
        main([*command[:-1], str(tmp_path / "empty")])
    with pytest.raises(InputError, match="--model takes a model's folder"):
        main([*command, "--limit", "3", "--model", "elsewhere"])


FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "additional_chat_templates/other.jinja", "model.safetensors",
)  # fmt: skip
"""What is read of a model."""


@pytest.fixture
def read(model_dir, tmp_path):
    """A model and two splits of problems, of which everything may be replaced."""
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_text("{}")
    for split in ("train", "test"):
        row = {"question": f"{split}?", "answer": "#### 4"}
        (tmp_path / "data" / f"{split}.jsonl").parent.mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


def change(path: Path) -> None:
    """Put another file of the same size and time under the name."""
    before, times = path.read_bytes(), path.stat()
    middle = len(before) // 2
    path.unlink()
    path.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "name", [*(f"model/{name}" for name in FILES), "data/train.jsonl", "data/test.jsonl"]
)
def test_a_result_is_not_taken_for_that_of_another_file(read, known, monkeypatch, name) -> None:
    command = ["--model", str(read / "model"), "--task", "gsm8k", "--form", "chat"]
    command += ["--shots", "1", "--data", str(read / "data"), "--output", str(read / "result")]
    main(command)
    main(command)
    assert len(known.batches) == 1
    # What is read is asked by the hashes alone: a changed byte may make a file unreadable.
    monkeypatch.setattr(model, "check_folder", lambda path: None)
    monkeypatch.setattr("tinymathreason.weights.read_json", lambda path: {})
    change(read / name)
    with pytest.raises(InputError, match="holds the result of another evaluation"):
        main(command)


@pytest.mark.parametrize("name", ["model/model.safetensors", "model/tokenizer.json"])
def test_what_was_answered_is_not_taken_for_anothers(read, known, monkeypatch, name) -> None:
    command = ["--model", str(read / "model"), "--task", "arithmetic", "--batch-size", "100"]
    command += ["--output", str(read / "result")]
    say = known.say

    def breaks(solution: str) -> str:
        if len(known.batches) == 2:
            raise KeyboardInterrupt
        return say(solution)

    known.say = breaks
    with pytest.raises(KeyboardInterrupt):
        main(command)
    known.say, known.batches = say, []
    change(read / name)
    main(command)
    assert len(known.batches) == 2


def test_data_that_are_a_pattern_or_our_own_tasks_are_told_apart_too(read, monkeypatch) -> None:
    pattern = str(read / "data" / "t*st.jsonl")
    hashes = [catalogue.task_hash(pattern)]
    change(read / "data" / "test.jsonl")
    hashes.append(catalogue.task_hash(pattern))
    ours = read / "tasks"
    shutil.copytree(catalogue.OURS, ours)
    monkeypatch.setattr(catalogue, "OURS", ours)
    assert catalogue.task_hash(pattern) == hashes[1]
    change(ours / "tmr_gsm8k.yaml")
    hashes.append(catalogue.task_hash(pattern))
    assert len(set(hashes)) == 3


def test_an_interrupted_evaluation_continues(model_dir, tmp_path, known) -> None:
    command = ["--model", str(model_dir), "--task", "arithmetic", "--batch-size", "4"]
    main([*command, "--output", str(tmp_path / "whole")])
    asked, known.batches = len(known.batches), []
    say = known.say

    def breaks(solution: str) -> str:
        if len(known.batches) == 10:
            raise KeyboardInterrupt
        return say(solution)

    known.say = breaks
    with pytest.raises(KeyboardInterrupt):
        main([*command, "--output", str(tmp_path / "cut")])
    assert not (tmp_path / "cut").exists()
    known.say, known.batches = say, []
    main([*command, "--output", str(tmp_path / "cut")])
    assert len(known.batches) == asked - 9
    texts = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("whole", "cut")]
    assert texts[0] == texts[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


@pytest.mark.soak
def test_a_killed_evaluation_continues_to_the_same_bytes(answering_dir, tmp_path) -> None:
    words = [
        sys.executable, "-W", "ignore", "-m", "evaluation.run", "--model", str(answering_dir),
        "--task", "arithmetic", "--limit", "60", "--batch-size", "2", "--samples", "3",
    ]  # fmt: skip
    subprocess.run([*words, "--output", str(tmp_path / "whole")], check=True)
    journal = tmp_path / "cut.journal" / "responses.jsonl"
    for lines in (5, 40, 70):
        process = subprocess.Popen([*words, "--output", str(tmp_path / "cut")])
        while not journal.is_file() or len(journal.read_bytes().splitlines()) < lines:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*words, "--output", str(tmp_path / "cut")], check=True)
    texts = [(tmp_path / name / "samples.jsonl").read_bytes() for name in ("whole", "cut")]
    assert texts[0] == texts[1]


@pytest.mark.processor
def test_batches_change_no_answer(answering_dir) -> None:
    generator = Generator(answering_dir, "plain")
    questions = [problem.question for problem in tasks.load("arithmetic", limit=7)]
    alone = generator.answer(questions, max_new_tokens=8, batch_size=1)
    assert generator.answer(questions, max_new_tokens=8, batch_size=3) == alone
    assert len(set(alone)) > 1


def test_the_form_is_reported_or_follows_from_the_template(model_dir, tmp_path) -> None:
    with pytest.raises(InputError, match="no chat template there; use --form plain"):
        Generator(model_dir, "chat")
    chat = tmp_path / "chat"
    shutil.copytree(model_dir, chat)
    shutil.copy(TEMPLATE, chat / "chat_template.jinja")
    asked = ["2 + 2?", "Say <|im_end|>"]
    prompts = Generator(chat).prompts(asked)
    decode = Generator(chat).tokenizer.decode
    for question, ids in zip(asked, prompts, strict=True):
        expected = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert decode(ids) == expected
        assert ids.count(SPECIAL_TOKENS.index("<|im_end|>")) == 1
    assert Generator(chat, "plain").prompts(asked) == Generator(model_dir).prompts(asked)


def test_a_base_model_is_asked_as_it_was_trained(model_dir) -> None:
    problem = next(arithmetic.problems(0))
    generator = Generator(model_dir)
    prompt = generator.tokenizer.decode(generator.prompts([problem.question])[0])
    document = arithmetic.plain_problem(problem.question, problem.solution)
    assert document == f"{prompt} {problem.solution}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--limit", "0"], "--limit: must be at least 1 (got 0)"),
        (["--shots", "-1"], "--shots: must be at least 0 (got -1)"),
        (["--temperature", "0"], "--temperature: must be above 0 and finite (got 0.0)"),
        (["--temperature", "nan"], "--temperature: must be above 0 and finite (got nan)"),
        (["--seed", "-1"], "--seed: must be from 0 to"),
        (["--backend", "jax"], "--backend: invalid choice"),
    ],
)
def test_wrong_options_are_reported(capsys, words, message) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--model", "m", "--task", "arithmetic", *words])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_is_reported_and_the_journal_continues(model_dir, tmp_path, known) -> None:
    words = ["--model", str(model_dir), "--task", "arithmetic", "--limit", "100", "--batch-size"]
    words += ["4", "--output", str(tmp_path / "r")]
    with (
        room_for(6000),
        pytest.raises(InputError, match=r"cannot be written \(File too large: a f"),
    ):
        main(words)
    assert not (tmp_path / "r").exists()
    main(words)
    assert (tmp_path / "r" / "results.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
