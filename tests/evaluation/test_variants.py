"""A model that remembers problems loses on their variants, and one that solves them does not."""

import json

import pytest

from evaluation import catalogue, measure, model, variants
from evaluation.config import EvalConfig
from evaluation.interval import wilson
from evaluation.run import main
from tests.support.benchmarks import Knows
from tinymathreason.cli import InputError
from tinymathreason.records.evaluation import Results

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight problems in GSM8K's form, and a ninth that admits no variant."""
    rows = [
        {
            "question": f"Tom has {i + 5} apples and buys {i + 7} more. Then he gives 3 apples to "
            "his sister. How many apples does Tom have now?",
            "answer": f"Tom first has {i + 5}+{i + 7}=<<{i + 5}+{i + 7}={2 * i + 12}>>{2 * i + 12} "
            f"apples.\nNow he has {2 * i + 12}-3=<<{2 * i + 12}-3={2 * i + 9}>>{2 * i + 9} apples."
            f"\n#### {2 * i + 9}",
        }
        for i in range(8)
    ]
    rows.insert(2, {"question": "They are how many?", "answer": "#### 4"})
    path = tmp_path_factory.mktemp("data") / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def ask(monkeypatch, tmp_path, data):
    """Evaluate a stand-in for a model on the problems; its result and its samples."""

    def evaluate(lm, form="chat", **more):
        monkeypatch.setattr(model, "open_lm", lambda *a: lm)
        monkeypatch.setattr(model, "load_tokenizer", lambda *a: lm.tokenizer)
        monkeypatch.setattr(model, "device_and_dtype", lambda: ("cpu", "float32"))
        return measure.evaluate(
            tmp_path, EvalConfig("gsm8k_variants", str(data), form=form, **more)
        )

    return evaluate


def remembers(data):
    """A model that answers the problems of a file, and to all others what a problem's would be."""
    known = {json.loads(line)["answer"] for line in data.read_text().splitlines()}
    return Knows("{{ messages }}", lambda solution: solution if solution in known else "#### 0")


def test_each_problem_is_followed_by_its_variants(ask) -> None:
    result, samples = ask(Knows("{{ messages }}"))
    assert result["interval"] == "clustered Wilson"
    originals = [sample for sample in samples if sample.original is None]
    assert len(originals) == 8
    assert {sample.groups["kind"] for sample in originals} == {"original"}
    for sample in samples:
        if sample.original is None:
            continue
        original = samples[sample.original]
        assert original.original is None
        assert original.id < sample.id
        assert sample.question != original.question
        other = sample.groups["kind"] in ("numbers", "names_and_numbers")
        assert (sample.expected != original.expected) == other
    pairs = [(sample.original, sample.groups["kind"]) for sample in samples]
    assert len(pairs) - len(set(pairs)) == 8 - 1  # one variant of a kind for each problem
    assert "They are how many?" not in {sample.question for sample in samples}


def test_memory_loses_where_the_answer_is_another_and_skill_does_not(ask, data) -> None:
    result, samples = ask(remembers(data))
    assert {"names", "numbers", "irrelevant"} <= result["differences"].keys()
    for kind, found in result["differences"].items():
        right = sum(s.correct for s in samples if s.groups["kind"] == kind)
        assert (found.original, found.variant, found.won) == (1.0, right / found.n, 0)
        assert found.difference == (right - found.n) / found.n
        assert found.lost == found.n - right
    found = result["differences"]["numbers"]
    assert (found.n, found.variant) == (8, 0.0)
    # Of eight pairs that were all lost: one minus Wilson's bounds, combined without correlation.
    reach = 1 - wilson(8, 8)[0]
    assert (found.low, found.high) == (-1.0, pytest.approx(-1 + (2 * reach**2) ** 0.5))
    kinds = result["groups"]["kind"]
    assert (kinds["original"].value, kinds["original"].n) == (1.0, 8)
    result, _ = ask(Knows("{{ messages }}"))
    assert {found.difference for found in result["differences"].values()} == {0.0}


def test_a_limit_counts_originals_and_a_seed_makes_others(ask) -> None:
    _, samples = ask(Knows("{{ messages }}"), limit=4)  # one of them admits none
    assert sum(sample.original is None for sample in samples) == 3
    _, again = ask(Knows("{{ messages }}"), limit=4)
    assert samples == again
    _, others = ask(Knows("{{ messages }}"), limit=4, seed=1)
    questions = [{sample.question for sample in side} for side in (samples, others)]
    assert questions[0] != questions[1]
    assert len(questions[0] & questions[1]) >= 3


def test_problems_without_a_variant_are_refused_in_one_line(data) -> None:
    lines = data.read_text().splitlines()
    rows = [json.loads(lines[2])]
    with pytest.raises(InputError, match=r"data: no problem admits a variant; .* GSM8K's form"):
        variants.expanded(rows, None, 0)
    with pytest.raises(InputError, match=r"data: none of the first 1 problems admits a variant"):
        variants.expanded([*rows, json.loads(lines[0])], 1, 0)


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_lm_eval_makes_the_same_prompts_from_our_task(ask, data, form) -> None:
    from lm_eval.tasks import TaskManager

    name = "tmr_gsm8k_variants" + "_plain" * (form == "plain")
    manager = TaskManager(
        include_defaults=False, include_path=catalogue.OURS, metadata={"file": str(data)}
    )
    task = manager.load([name])["tasks"][name]
    lm = Knows("{{ messages }}")
    chat = {"apply_chat_template": True, "chat_template": lm.apply_chat_template}
    task.build_all_requests(**(chat | {"fewshot_as_multiturn": True} if form == "chat" else {}))
    result, samples = ask(lm, form)
    assert [sample.prompt for sample in samples] == [one.args[0] for one in task.instances]
    assert result["value"] == 1.0
    assert samples[0].prompt.count("Q: ") == (9 if form == "plain" else 0)


def test_the_command_prints_and_stores_the_differences(
    model_dir, data, monkeypatch, capsys, tmp_path
) -> None:
    lm = remembers(data)
    monkeypatch.setattr(model, "open_lm", lambda *a: lm)
    monkeypatch.setattr(model, "load_tokenizer", lambda *a: lm.tokenizer)
    words = ["--model", str(model_dir), "--task", "gsm8k_variants", "--data", str(data)]
    main([*words, "--output", str(tmp_path / "r")])
    printed = capsys.readouterr().out
    stored = Results.load(tmp_path / "r" / "results.json").differences["numbers"]
    assert stored.variant == 0.0
    lines = [line.strip() for line in printed.splitlines() if " points " in line]
    (line,) = (line for line in lines if line.startswith("numbers "))
    assert line.split()[:4] == ["numbers", "8", "100.0%", "0.0%"]
    assert "-100.0 points (-100.0 to " in line


def test_a_change_of_the_generator_is_another_evaluation(tmp_path, monkeypatch) -> None:
    from tinymathreason import variants as generator

    before = catalogue.task_hash(None, "gsm8k_variants"), catalogue.task_hash(None, "gsm8k")
    (tmp_path / "rule.py").write_text("")
    monkeypatch.setattr(generator, "__path__", [str(tmp_path)])
    after = catalogue.task_hash(None, "gsm8k_variants"), catalogue.task_hash(None, "gsm8k")
    assert before[0] != after[0]
    assert before[1] == after[1]
