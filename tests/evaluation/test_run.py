"""The accuracy counts what it should, and batching changes no answer."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

from data_prep import arithmetic
from evaluation import tasks
from evaluation.generate import Generator
from evaluation.run import main
from tinymathreason.answers import final_line
from tinymathreason.chatml import SPECIAL_TOKENS, TEMPLATE
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_arithmetic_problems_are_held_out_and_fixed() -> None:
    problems = tasks.load("arithmetic")
    assert len(problems) == tasks.ARITHMETIC_PROBLEMS == len({p.question for p in problems})
    assert tasks.load("arithmetic", limit=10) == problems[:10]
    for problem in problems:
        assert arithmetic.Problem(problem.question, "", 0).held_out


@pytest.mark.parametrize(
    ("task", "content", "words"),
    [
        ("gsm9k", None, "unknown 'gsm9k'; did you mean 'gsm8k'"),
        ("gsm8k", None, "needs a file"),
        ("gsm8k", "", "no problem in it"),
        ("gsm8k", '{"question": "q"}\n', "row 0 has no 'answer'"),
        ("gsm8k", '{"question": "q", "answer": "5"}\n', "row 0 has no final line"),
        ("gsm8k", "{\n", "row 0 is not JSON"),
        ("arithmetic", "", "makes its own problems"),
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
    expected = [tasks.Problem("How much?", "1234")]
    assert tasks.load("gsm8k", str(path)) == expected
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "test.parquet")
    assert tasks.load("gsm8k", str(tmp_path / "test.parquet")) == expected


def test_right_answers_score_one_and_wrong_ones_nothing(model_dir, tmp_path, monkeypatch) -> None:
    problems = tasks.load("arithmetic", limit=40)
    for name, shift, value in (("right", 0, 1.0), ("wrong", 1, 0.0)):
        answers = [f"So.\n{final_line(int(p.answer) + shift)}" for p in problems]
        monkeypatch.setattr(Generator, "answer", lambda *a, answers=answers: answers)
        output = tmp_path / name
        command = ["--model", str(model_dir), "--task", "arithmetic", "--limit", "40"]
        main([*command, "--output", str(output)])
        result = json.loads((output / "results.json").read_text())
        assert (result["value"], result["n"], result["task"]) == (value, 40, "arithmetic")
        assert result["low"] <= value <= result["high"]
        samples = (output / "samples.jsonl").read_text().splitlines()
        assert len(samples) == 40
        assert json.loads(samples[0])["question"] == problems[0].question


def test_a_complete_result_is_only_read_and_anothers_is_refused(
    model_dir, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(Generator, "answer", lambda self, questions, *a: [""] * len(questions))
    command = ["--model", str(model_dir), "--task", "arithmetic", "--output", str(tmp_path / "r")]
    main([*command, "--limit", "3"])
    main([*command, "--limit", "3"])
    assert "was already complete" in capsys.readouterr().out
    for change in (["--limit", "4"], ["--limit", "3", "--model", "elsewhere"], ["--form", "plain"]):
        with pytest.raises(InputError, match="holds the result of another evaluation"):
            main([*command, "--limit", "3", *change])


def test_batches_change_no_answer(model_dir) -> None:
    generator = Generator(model_dir)
    assert generator.form == "plain"
    questions = [problem.question for problem in tasks.load("arithmetic", limit=7)]
    alone = generator.answer(questions, max_new_tokens=8, batch_size=1)
    assert generator.answer(questions, max_new_tokens=8, batch_size=3) == alone
    assert len(set(alone)) > 1


def test_the_form_is_told_or_follows_from_the_template(model_dir, tmp_path) -> None:
    with pytest.raises(InputError, match="no chat template there; ask with --form plain"):
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


@pytest.mark.parametrize("change", ["missing", "no tokenizer", "small"])
def test_unusable_models_are_told(model_dir, tmp_path, change) -> None:
    import shutil

    folder = tmp_path / "model"
    if change != "missing":
        shutil.copytree(model_dir, folder)
    if change == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    if change == "small":
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["vocab"]["longer"] = 320
        (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="config.json" if change == "missing" else "tokenizer"):
        main(["--model", str(folder), "--task", "arithmetic", "--limit", "1"])


def test_limit_must_be_positive(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--model", "m", "--task", "arithmetic", "--limit", "0"])
    assert exit_.value.code == 2
    assert "--limit: must be at least 1" in capsys.readouterr().err
