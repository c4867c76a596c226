"""Gold answers score everything and guesses what chance gives, on every benchmark."""

import json
import shutil
import sys
from types import ModuleType

import pytest

from evaluation import catalogue, measure, model
from evaluation.measure import Question
from tests.evaluation import stand_ins, trained
from tests.evaluation.stand_ins import Guesses, Knows
from tinymathreason.chatml import TEMPLATE
from tinymathreason.cli import InputError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return stand_ins.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """Evaluate a stand-in for a model; its result and its samples."""

    def evaluate(lm, *words, **more):
        monkeypatch.setattr(model, "open_lm", lambda *a: lm)
        monkeypatch.setattr(model, "device_and_dtype", lambda: ("cpu", "float32"))
        return measure.evaluate(tmp_path, Question(*words, **more))

    return evaluate


GENERATED = [
    (task, form) for task in ("arithmetic", "gsm8k", "math500") for form in ("chat", "plain")
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
        assert [sample["correct"] for sample in samples] == [bool(value)] * 12
        assert (samples[3]["found"] is None) == (value == 0.0)
        assert (result["template_sha256"] is None) == (form == "plain")


@pytest.mark.parametrize("task", ["arithmetic", "gsm8k", "math500"])
def test_a_base_model_and_a_tuned_one_can_be_compared(ask, data, task) -> None:
    found = [ask(Knows("x"), task, data.get(task), 12, form)[1] for form in ("chat", "plain")]
    for chat, plain in zip(*found, strict=True):
        assert all(chat[key] == plain[key] for key in ("id", "question", "expected"))
        assert len(chat["expected"]) < 15


@pytest.mark.parametrize("task", CHOICES)
def test_right_choices_score_everything(ask, data, task) -> None:
    result, samples = ask(Knows(), task, data[task])
    assert result["value"] == result["metrics"]["acc"]["value"] == 1.0
    assert result["n"] == len(samples) == (24 if task == "mmlu" else 12)
    assert all(sample["found"] == sample["expected"] for sample in samples)
    assert result["form"] == "plain"


def test_guesses_score_what_chance_gives(ask, tmp_path) -> None:
    many = stand_ins.write(tmp_path, 600)
    for task in ("arc_easy", "mmlu"):
        result, _ = ask(Guesses(), task, many[task])
        assert result["metrics"]["acc"]["low"] < 0.25 < result["metrics"]["acc"]["high"]
        assert result["metrics"]["acc"]["high"] - result["metrics"]["acc"]["low"] < 0.08


def test_strict_and_flexible_can_differ(ask, data) -> None:
    lm = Knows("{{ messages }}", lambda solution: solution.replace("#### ", "so "))
    result, _ = ask(lm, "gsm8k", data["gsm8k"])
    assert result["metrics"]["strict"]["value"] == 0.0
    assert result["metrics"]["flexible"]["value"] == 1.0


def test_a_tuned_model_is_asked_the_question_and_a_base_model_after_eight_shots(ask, data) -> None:
    _, (sample, *_) = ask(Knows("{{ messages }}"), "gsm8k", data["gsm8k"])
    assert sample["prompt"] == "<user>What is 0 plus 0?"
    result, (sample, *_) = ask(Knows(), "gsm8k", data["gsm8k"])
    assert result["shots"] == 8
    assert sample["prompt"].count("Q: ") == 9
    assert sample["prompt"].endswith("Q: What is 0 plus 0?\nA:")
    result, (sample, *_) = ask(Knows(), "gsm8k", data["gsm8k"], shots=2)
    assert (result["shots"], sample["prompt"].count("Q: ")) == (2, 3)


def test_several_samples_give_pass_at_k_and_the_majority(ask, data) -> None:
    said = iter(["#### 0", "#### 0", "#### 7", "#### 7"] * 12)
    lm = Knows("{{ messages }}", lambda solution: next(said))
    result, samples = ask(lm, "gsm8k", data["gsm8k"], 1, samples=4)
    assert samples[0]["all_found"] == ["0", "0", "7", "7"]
    assert samples[0]["all_correct"] == [True, True, False, False]
    values = {name: metric["value"] for name, metric in result["metrics"].items()}
    assert values["strict"] == values["pass@1"] == 0.5
    assert values["pass@2"] == pytest.approx(1 - 1 / 6)
    assert (values["pass@4"], values["majority@4"]) == (1.0, 1.0)
    assert result["decoding"]["do_sample"] is True


def test_several_shots_come_from_another_split(ask, data) -> None:
    result, (sample, *_) = ask(Knows(), "mmlu", data["mmlu"], shots=5)
    assert sample["prompt"].count("Answer:") == 6
    assert result["shots"] == 5
    with pytest.raises(InputError, match="holds no other split to take examples from"):
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
        ("gsm8k", {"rows": "[]\n"}, "row 0 has no 'question'"),
        ("arithmetic", {"rows": ""}, "makes its own problems"),
        ("mmlu", {"rows": "{}\n"}, "mmlu takes a folder"),
        ("mmlu", {"data": "."}, "no folder of a subject"),
        ("arc_easy", {"data": "evaluation"}, "no test-.*parquet or .jsonl in it"),
        ("arc_easy", {"samples": 2}, "is a choice, which is not drawn"),
        ("arithmetic", {"max_new_tokens": 9000}, "leave no room in a context of 8192"),
        ("arc_easy", {"form": "chat"}, "no chat template there; ask with --form plain"),
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
    import pyarrow.json
    import pyarrow.parquet

    folder = tmp_path / "gsm8k" / "main"
    folder.mkdir(parents=True)
    table = pyarrow.json.read_json(data["gsm8k"])
    pyarrow.parquet.write_table(table, folder / "test-00000-of-00001.parquet")
    expected = ask(Knows("x"), "gsm8k", data["gsm8k"])[1]
    for path in (folder / "test-00000-of-00001.parquet", folder.parent):
        assert ask(Knows("x"), "gsm8k", str(path))[1] == expected


def test_vllm_answers_where_it_is_installed(ask, monkeypatch, model_dir) -> None:
    with pytest.raises(InputError, match="backend: No module named 'vllm'"):
        model.open_lm(model_dir, "vllm", 1)
    stand_in = ModuleType("lm_eval.models.vllm_causallms")
    stand_in.VLLM = lambda path, **kwargs: (path, kwargs)
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", stand_in)
    path, kwargs = model.open_lm(model_dir, "vllm", 1)
    assert path == str(model_dir)
    assert kwargs == {"dtype": "float32", "batch_size": "auto"}


@pytest.mark.parametrize("change", ["missing", "no tokenizer", "small", "no weights", "hub"])
def test_unusable_models_are_told(model_dir, tmp_path, change) -> None:
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
        "hub": "not to be had from the hub",
        "no weights": "no model that transformers can load",
    }.get(change, "tokenizer")
    with pytest.raises(InputError, match=words):
        model.open_lm(model.folder("org/model" if change == "hub" else str(folder)), "", 1)


@pytest.fixture(scope="module")
def trained_dir(model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    trained.train(model_dir, folder)
    return folder


def test_batches_change_no_answer(trained_dir) -> None:
    results = [
        measure.evaluate(trained_dir, Question("arithmetic", limit=24, batch_size=size))[1]
        for size in (1, 7)
    ]
    assert results[0] == results[1]
    assert 0 < sum(sample["correct"] for sample in results[0]) < 24


def test_scores_equal_those_of_lm_evals_own_command(trained_dir, tmp_path, data) -> None:
    """Item by item, as chat and as plain text, and batch by batch."""
    import subprocess

    local = tmp_path / "tasks"
    local.mkdir()
    (local / "gsm8k_local.yaml").write_text(
        f"include: {catalogue.OURS / 'tmr_gsm8k.yaml'}\n"
        "task: gsm8k_local\ndataset_path: json\ndataset_name: null\ntraining_split: null\n"
        f"fewshot_split: null\ndataset_kwargs: {{data_files: {{test: {data['gsm8k']}}}}}\n"
        "generation_kwargs: {until: ['<|im_end|>'], do_sample: false, max_gen_toks: 48}\n"
    )
    words = [
        "run", "--model", "hf", "--model_args", f"pretrained={trained_dir},dtype=float32",
        "--device", "cpu", "--include_path", str(catalogue.OURS), "--tasks",
        f"tmr_arithmetic,{local / 'gsm8k_local.yaml'}", "--limit", "24", "--apply_chat_template",
        "--log_samples", "--output_path", str(tmp_path / "cli"),
    ]  # fmt: skip
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lm_eval", *words], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    for ours, theirs in (("arithmetic", "tmr_arithmetic"), ("gsm8k", "gsm8k_local")):
        _, samples = measure.evaluate(
            trained_dir, Question(ours, data.get(ours), 24, max_new_tokens=48)
        )
        (file,) = (tmp_path / "cli").rglob(f"samples_{theirs}_*.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for sample in samples:
            for name in ("strict", "flexible"):
                (row,) = [r for r in rows if r["doc_id"] == sample["id"] and r["filter"] == name]
                assert row["arguments"]["gen_args_0"]["arg_0"] == sample["prompt"]
                assert row["resps"] == [sample["completions"]]
                assert row["correct"] == sample["metrics"][name]
        if ours == "arithmetic":
            assert 0 < sum(sample["correct"] for sample in samples) < 24


def test_the_template_is_told_by_its_hash(trained_dir) -> None:
    import hashlib

    result, _ = measure.evaluate(trained_dir, Question("arithmetic", limit=1))
    assert result["template_sha256"] == hashlib.sha256(TEMPLATE.read_bytes()).hexdigest()
    assert result["decoding"]["max_gen_toks"] == 48
    assert result["decoding"]["do_sample"] is False
    assert result["prompt_version"].startswith("tmr_arithmetic 1, lm-eval 0.4.")
