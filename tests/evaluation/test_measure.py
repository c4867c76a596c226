"""On every benchmark right answers score 100 % and guesses score at chance."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from evaluation import catalogue, measure, model
from evaluation.config import EvalConfig
from evaluation.interval import wilson
from tests.support import benchmarks, built_model
from tests.support.benchmarks import Guesses, Knows
from tinymathreason.chatml import TEMPLATE
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return benchmarks.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Evaluate a stand-in for a model; its result and its samples."""

    def evaluate(lm, *words, **more):
        monkeypatch.setattr(model, "open_lm", lambda *a: lm)
        monkeypatch.setattr(model, "load_tokenizer", lambda *a: lm.tokenizer)
        monkeypatch.setattr(model, "device_and_dtype", lambda: ("cpu", "float32"))
        return measure.evaluate(tmp_path, EvalConfig(*words, **more))

    return evaluate


TASKS = ("arithmetic", "gsm8k", "gsm_plus", "svamp", "asdiv", "mawps", "math500")
GENERATED = [
    *((task, form) for task in TASKS for form in ("chat", "plain")),
    ("gsm_plus_mini", "chat"),
    ("asdiv_cot_llama", "plain"),
]
CHOICES = ["arc_easy", "arc_challenge", "hellaswag", "mmlu"]


@pytest.mark.parametrize(("task", "form"), GENERATED)
def test_gold_answers_score_everything_and_wrong_ones_nothing(ask, data, task, form) -> None:
    for say, value in ((str, 1.0), (lambda text: "It is 9,999.", 0.0)):
        lm = Knows("{{ messages }}", say)
        result, samples = ask(lm, task, data.get(task), 12, form)
        assert (result["value"], result["n"], result["form"]) == (value, 12, form)
        assert result["low"] <= value <= result["high"]
        assert result["metric"] in result["metrics"]
        assert [sample.correct for sample in samples] == [bool(value)] * 12
        assert (samples[3].answer is None) == (value == 0.0)
        assert (result["template_sha256"] is None) == (form == "plain")


@pytest.mark.parametrize("task", TASKS)
def test_a_base_model_and_a_tuned_one_can_be_compared(ask, data, task) -> None:
    runs = [ask(Knows("x"), task, data.get(task), 12, form)[1] for form in ("chat", "plain")]
    for chat, plain in zip(*runs, strict=True):
        assert all(
            getattr(chat, key) == getattr(plain, key) for key in ("id", "question", "expected")
        )
        assert len(chat.expected) < 15


@pytest.mark.parametrize("task", CHOICES)
def test_right_choices_score_everything(ask, data, task) -> None:
    result, samples = ask(Knows(), task, data[task])
    assert result["value"] == result["metrics"]["acc"].value == 1.0
    assert result["n"] == len(samples) == (24 if task == "mmlu" else 12)
    assert all(sample.answer == sample.expected for sample in samples)
    assert result["form"] == "plain"


def test_guesses_score_what_chance_gives(ask, tmp_path) -> None:
    many = benchmarks.write(tmp_path, 600)
    for task in ("arc_easy", "mmlu"):
        result, _ = ask(Guesses(), task, many[task])
        assert result["metrics"]["acc"].low < 0.25 < result["metrics"]["acc"].high
        assert result["metrics"]["acc"].high - result["metrics"]["acc"].low < 0.08


def test_strict_and_flexible_can_differ(ask, data) -> None:
    lm = Knows("{{ messages }}", lambda solution: solution.replace("#### ", "so "))
    result, _ = ask(lm, "gsm8k", data["gsm8k"])
    assert result["metrics"]["strict"].value == 0.0
    assert result["metrics"]["flexible"].value == 1.0


def test_a_tuned_model_is_asked_the_question_and_a_base_model_after_eight_shots(ask, data) -> None:
    _, (sample, *_) = ask(Knows("{{ messages }}"), "gsm8k", data["gsm8k"])
    assert sample.prompt == "<user>What is 0 plus 0?"
    result, (sample, *_) = ask(Knows(), "gsm8k", data["gsm8k"])
    assert result["shots"] == 8
    assert sample.prompt.count("Q: ") == 9
    assert sample.prompt.endswith("Q: What is 0 plus 0?\nA:")
    result, (sample, *_) = ask(Knows(), "gsm8k", data["gsm8k"], shots=2)
    assert (result["shots"], sample.prompt.count("Q: ")) == (2, 3)


def test_several_samples_give_pass_at_k_and_the_majority(ask, data) -> None:
    said = iter(["#### 0", "#### 0", "#### 7", "#### 7"] * 12)
    lm = Knows("{{ messages }}", lambda solution: next(said))
    result, samples = ask(lm, "gsm8k", data["gsm8k"], 1, samples=4)
    assert samples[0].all_answers == ["0", "0", "7", "7"]
    assert samples[0].all_correct == [True, True, False, False]
    values = {name: metric.value for name, metric in result["metrics"].items()}
    assert values["strict"] == values["pass@1"] == 0.5
    assert values["pass@2"] == pytest.approx(1 - 1 / 6)
    assert (values["pass@4"], values["majority@4"]) == (1.0, 1.0)
    decoding = result["decoding"]
    assert [getattr(decoding, k) for k in ("do_sample", "temperature", "top_k", "top_p")] == [
        True, 0.7, 0, 1.0,
    ]  # fmt: skip


def test_the_answer_to_a_choice_is_the_one_that_its_metric_takes(ask, tmp_path) -> None:
    row = {
        "question": "1 + 1?",
        "choices": {"text": ["no", "the number two"], "label": ["A", "B"]},
        "answerKey": "B",
    }
    path = tmp_path / "arc.jsonl"
    path.write_text(json.dumps(row))
    lm = Knows()
    lm.loglikelihood = lambda requests, disable_tqdm: [(-4.0 - r.idx, False) for r in requests]
    result, (sample,) = ask(lm, "arc_easy", str(path))
    assert sample.metrics == {"acc": 0.0, "acc_norm": 1.0}
    assert (sample.answer, sample.correct) == ("the number two", True)
    assert result["decoding"].by == "likelihood"


def test_several_shots_come_from_another_split(ask, data) -> None:
    result, (sample, *_) = ask(Knows(), "mmlu", data["mmlu"], shots=5)
    assert sample.prompt.count("Answer:") == 6
    assert result["shots"] == 5
    with pytest.raises(InputError, match="shots: 20 requested, 12 available"):
        ask(Knows(), "mmlu", data["mmlu"], shots=20)
    with pytest.raises(InputError, match="shots: 9 requested, 8 available"):
        ask(Knows(), "gsm8k", data["gsm8k"], shots=9)
    with pytest.raises(InputError, match="has no other split to take examples from"):
        ask(Knows(), "arc_easy", data["arc_easy"], shots=5)


@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("gsm9k", {}, "unknown 'gsm9k'; did you mean 'gsm8k'"),
        ("gsm8k", {"data": "nowhere.jsonl"}, "no file matches 'nowhere.jsonl'"),
        ("gsm8k", {"rows": ""}, "no problem in it"),
        ("gsm8k", {"rows": '{"question": "q"}\n'}, "row 0 has no 'answer'"),
        ("gsm8k", {"rows": '{"question": "q", "answer": "5"}\n'}, "row 0 has no final line"),
        ("gsm8k", {"rows": "{\n"}, "row 0 is not JSON"),
        ("gsm8k", {"rows": "[]\n"}, "row 0 is not an object"),
        ("gsm8k", {"rows": '{"question": 3, "answer": "#### 4"}'}, "'question' that is not a str"),
        ("gsm8k", {"rows": '{"question": "\\ud800", "answer": "#### 4"}'}, "do not form a table"),
        (
            "arc_easy",
            {"rows": '{"question": "q", "choices": {"label": ["A"]}, "answerKey": "E"}'},
            "has no choice 'E'",
        ),
        ("arithmetic", {"rows": ""}, "generates its own problems"),
        ("mmlu", {"rows": "{}\n"}, "mmlu takes a folder"),
        ("mmlu", {"data": "."}, "no folder of a subject"),
        ("arc_easy", {"data": "evaluation"}, "no test-.*parquet or .jsonl in it"),
        ("arc_easy", {"samples": 2}, "is multiple choice, which is not sampled"),
        ("arithmetic", {"max_new_tokens": 9000}, "leave no room in a context of 8192"),
        ("arc_easy", {"form": "chat"}, "no chat template there; use --form plain"),
        ("arc_easy", {}, "arc_easy: "),  # the hub, which no test reaches
    ],
)
def test_wrong_input_is_one_line(ask, data, tmp_path, task, change, words) -> None:
    if "rows" in change:
        path = tmp_path / "rows.jsonl"
        path.write_text(change.pop("rows"))
        change = {"data": str(path)}
    elif change and "data" not in change and task != "arithmetic":
        change = {"data": data[task], **change}
    with pytest.raises(InputError, match=words) as error:
        ask(Knows(), task, **change)
    assert len(str(error.value).splitlines()) <= 2


def test_parquet_and_the_hubs_layout_are_read_too(ask, data, tmp_path) -> None:
    import gzip

    import pyarrow.json
    import pyarrow.parquet

    folder = tmp_path / "gsm8k" / "main"
    folder.mkdir(parents=True)
    zipped = tmp_path / "test.jsonl.gz"
    zipped.write_bytes(gzip.compress(Path(data["gsm8k"]).read_bytes() + b"\n"))
    table = pyarrow.json.read_json(data["gsm8k"])
    pyarrow.parquet.write_table(table, folder / "test-00000-of-00001.parquet")
    expected = ask(Knows("x"), "gsm8k", data["gsm8k"])[1]
    for path in (folder / "test-00000-of-00001.parquet", folder.parent, zipped):
        assert ask(Knows("x"), "gsm8k", str(path))[1] == expected
    # Worked shots are not replaced by a training split's.
    pyarrow.parquet.write_table(table, folder / "train-00000-of-00001.parquet")
    for form in ("plain", "chat"):
        paths = (str(folder.parent), str(zipped))
        runs = [ask(Knows("x"), "gsm8k", path, form=form)[1] for path in paths]
        assert runs[0] == runs[1]


def test_vllm_answers_where_it_is_installed(ask, monkeypatch, model_dir) -> None:
    with pytest.raises(InputError, match="backend: vLLM is not installed"):
        model.open_lm(model_dir, "vllm", 1)
    monkeypatch.setattr(model, "version", lambda name: "0.30.2+cu129")
    with pytest.raises(InputError, match=rf"written for vLLM {model.VLLM}; installed is 0.30.2"):
        model.open_lm(model_dir, "vllm", 1)
    monkeypatch.setattr(model, "version", lambda name: f"{model.VLLM}+cu129")
    stand_in = ModuleType("lm_eval.models.vllm_causallms")
    stand_in.VLLM = lambda path, **kwargs: SimpleNamespace(path=path, kwargs=kwargs)
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", stand_in)
    monkeypatch.setattr("lm_eval.models.vllm_causallms", stand_in, raising=False)
    lm = model.open_lm(model_dir, "vllm", 1)
    assert lm.path == str(model_dir)
    assert lm.kwargs == {
        "dtype": "float32", "batch_size": "auto", "load_format": "safetensors",
        "generation_config": "vllm",
    }  # fmt: skip
    assert lm.configured.generation_config.eos_token_id == 1


@pytest.mark.parametrize("change", ["missing", "no tokenizer", "small", "no weights", "hub"])
def test_unusable_models_are_reported(model_dir, tmp_path, change) -> None:
    folder = tmp_path / "model"
    if change not in ("missing", "hub"):
        shutil.copytree(model_dir, folder)
    if change == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    if change == "no weights":
        (folder / "model.safetensors").unlink()
    if change == "small":
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["vocab"]["longer"] = 320
        (folder / "tokenizer.json").write_text(json.dumps(content))
    words = {
        "missing": "config.json",
        "hub": "the hub cannot provide it",
        "no weights": "no model.safetensors there",
    }.get(change, "tokenizer")
    with pytest.raises(InputError, match=words):
        model.open_lm(model.folder("org/model" if change == "hub" else str(folder)), "", 1)


@pytest.mark.processor
def test_batches_change_no_answer(answering_dir) -> None:
    results = [
        measure.evaluate(answering_dir, EvalConfig("arithmetic", limit=24, batch_size=size))[1]
        for size in (1, 7)
    ]
    assert results[0] == results[1]
    check_arithmetic(results[0])


def check_arithmetic(samples) -> None:
    """Each answer is the one that is built in; some happen to be right, and some never stop."""
    said = [built_model.answer(sample.question) for sample in samples]
    assert [sample.answer for sample in samples] == said
    right = [sample.expected == answer for sample, answer in zip(samples, said, strict=True)]
    assert [sample.correct for sample in samples] == right
    assert set(right) == {True, False}
    assert len({len(completion) for s in samples for completion in s.completions}) > 1


LOCAL = """
include: {include}
task: {task}_local
dataset_path: json
dataset_name: null
training_split: null
validation_split: null
fewshot_split: {shots}
test_split: test
dataset_kwargs: {{data_files: {{test: {file}}}}}
"""


@pytest.mark.processor
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_scores_equal_those_of_lm_evals_own_command(answering_dir, tmp_path, data, form) -> None:
    """Item by item, at its own batch size of one."""
    import lm_eval

    upstream = Path(lm_eval.__file__).parent / "tasks"
    tasks = {
        "chat": {
            name: catalogue.OURS / f"tmr_{name}.yaml"
            for name in ("gsm8k", "gsm_plus", "svamp", "asdiv", "mawps")
        },
        "plain": {
            "gsm8k": upstream / "gsm8k" / "gsm8k-cot.yaml",
            "gsm_plus": upstream / "gsm_plus" / "gsm_plus.yaml",
            "asdiv_cot_llama": upstream / "asdiv" / "asdiv-cot-llama.yaml",
            "mawps": catalogue.OURS / "tmr_mawps_plain.yaml",
            "arc_easy": upstream / "arc" / "arc_easy.yaml",
            "hellaswag": upstream / "hellaswag" / "hellaswag.yaml",
        },
    }[form]
    files, local = {"arithmetic": None}, []
    for task, include in tasks.items():
        local.append(tmp_path / f"{task}.yaml")
        files[task] = str(tmp_path / f"{task}.jsonl")
        rows = Path(data[task]).read_text().splitlines(keepends=True)
        Path(files[task]).write_text("".join(rows[:6]))
        text = LOCAL.format(include=include, task=task, file=files[task], shots="null")
        local[-1].write_text(text + "num_fewshot: 0\n")
    arithmetic = "tmr_arithmetic" if form == "chat" else "tmr_arithmetic_plain"
    words = [
        "run", "--model", "hf", "--model_args", f"pretrained={answering_dir},dtype=float32",
        "--device", "cpu", "--include_path", str(catalogue.OURS), "--limit", "24",
        "--gen_kwargs", "max_gen_toks=48",
        "--tasks", ",".join([arithmetic, *map(str, local)]), "--log_samples",
        "--output_path", str(tmp_path / "cli"), *(["--apply_chat_template"] * (form == "chat")),
    ]  # fmt: skip
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lm_eval", *words], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    for task in ("arithmetic", *tasks):
        asked = EvalConfig(task, files[task], 24, form, max_new_tokens=48, shots=0)
        result, samples = measure.evaluate(answering_dir, asked)
        theirs = arithmetic if task == "arithmetic" else f"{task}_local"
        (file,) = (tmp_path / "cli").rglob(f"samples_{theirs}_*.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(rows) == len(samples) * len({row["filter"] for row in rows})
        assert len(samples) == (24 if task == "arithmetic" else 6)
        for row in rows:
            sample = samples[row["doc_id"]]
            assert row["arguments"]["gen_args_0"]["arg_0"] == sample.prompt
            for metric in row["metrics"]:
                ours = catalogue.metric_name(metric, row["filter"])
                assert row[metric] == sample.metrics[ours]
            if result["decoding"].by == "generation":
                assert row["resps"] == [sample.completions]
        if task == "arithmetic":
            check_arithmetic(samples)


@pytest.mark.parametrize("task", ["gsm_plus", "asdiv_cot_llama"])
def test_prompts_with_shots_equal_those_that_lm_eval_makes(ask, data, tmp_path, task) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    name = task.replace("_cot_llama", "-cot-llama")
    (include,) = (Path(lm_eval.__file__).parent / "tasks").rglob(f"{name}.yaml")
    (tmp_path / "local").mkdir()
    shots = "test" if task == "gsm_plus" else "null"
    text = LOCAL.format(include=include, task=task, file=data[task], shots=shots)
    (tmp_path / "local" / "task.yaml").write_text(text)
    manager = TaskManager(include_defaults=False, include_path=tmp_path / "local")
    theirs = manager.load([f"{task}_local"])["tasks"][f"{task}_local"]
    theirs.set_fewshot_seed(1234)  # the command's default
    theirs.build_all_requests()
    result, samples = ask(Knows(), task, data[task], form="plain")
    assert [sample.prompt for sample in samples] == [one.args[0] for one in theirs.instances]
    assert result["shots"] == {"gsm_plus": 5, "asdiv_cot_llama": 8}[task]
    # No problem is among its own examples.
    assert all(sample.prompt.count(sample.question) == 1 for sample in samples)


def test_problems_are_also_counted_by_level_and_subject(ask, data, tmp_path) -> None:
    said = iter([True, False, False] * 4)  # the problems of level 1 are answered
    lm = Knows("{{ messages }}", lambda solution: solution if next(said) else "#### none")
    lengths = iter(range(12, 0, -1))
    lm.tok_encode = lambda text: [0] * next(lengths)  # asked in their order
    result, samples = ask(lm, "math500", data["math500"])
    levels, subjects = result["groups"]["level"], result["groups"]["subject"]
    assert {level: (e.value, e.n) for level, e in levels.items()} == {
        "1": (1.0, 4), "2": (0.0, 4), "3": (0.0, 4),
    }  # fmt: skip
    assert (levels["1"].low, levels["1"].high) == wilson(4, 4)
    assert {name: (e.value, e.n) for name, e in subjects.items()} == {
        "Algebra": (2 / 6, 6), "Geometry": (2 / 6, 6),
    }  # fmt: skip
    assert samples[3].groups == {"level": "1", "subject": "Geometry"}
    rows = [json.loads(line) for line in Path(data["math500"]).read_text().splitlines()]
    del rows[5]["level"]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result, _ = ask(Knows("{{ messages }}"), "math500", str(tmp_path / "some.jsonl"))
    assert result["groups"].keys() == {"subject"}


def test_the_template_is_reported_by_its_hash(answering_dir) -> None:
    import hashlib

    result, _ = measure.evaluate(answering_dir, EvalConfig("arithmetic", limit=1))
    assert result["template_sha256"] == hashlib.sha256(TEMPLATE.read_bytes()).hexdigest()
    assert result["decoding"].max_gen_toks == 48
    assert result["decoding"].do_sample is False
    assert result["prompt_version"].startswith("tmr_arithmetic 1, lm-eval 0.4.")


def test_versions_of_one_problem_are_not_counted_as_independent(ask, data, tmp_path) -> None:
    rows = [json.loads(line) for line in Path(data["gsm_plus"]).read_text().splitlines()]
    for number, row in enumerate(rows):
        row["seed_question"] = f"Problem {number // 4}"
    path = tmp_path / "versions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    right = {row["solution"] for row in rows[:4]}
    lm = Knows("{{ messages }}", lambda solution: solution if solution in right else "#### 99")
    (apart, samples), (together, versions) = (
        ask(lm, "gsm_plus", file, form="chat", shots=0) for file in (data["gsm_plus"], str(path))
    )
    assert (apart["interval"], together["interval"]) == ("Wilson", "clustered Wilson")
    assert {sample.original for sample in samples} == {None}
    assert [s.original for s in versions[:6]] == [None, 0, 0, 0, None, 4]
    assert together["value"] == apart["value"] == 4 / len(rows)
    assert together["high"] - together["low"] > apart["high"] - apart["low"]
