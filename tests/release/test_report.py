"""The report shows what the records hold, and names a record that is missing."""

import json
from pathlib import Path

import pytest

from release.report.__main__ import main
from release.report.bars import Bar, load, missed
from release.report.collect import collect
from tests.support import records
from tests.support.limits import room_for
from tests.support.padding import squeezed
from tinymathreason.cli import InputError
from tinymathreason.provenance import file_hash
from tinymathreason.records.base import write_lines
from tinymathreason.records.evaluation import Results
from tinymathreason.records.mixture import Documents
from tinymathreason.records.report import SourceSummary
from tinymathreason.records.stage import Attempt
from tinymathreason.records.tuning import LogEntry

STAGES = ("data", "pretrain", "conversion", "sft", "evaluate_base", "evaluate_sft")


@pytest.fixture
def run(tmp_path):
    """A finished run's records, as the stages write them."""
    from torch.utils.tensorboard import SummaryWriter

    for i, stage in enumerate(STAGES):
        record = records.stage(seconds=10.0 * (i + 1), peak_bytes=(i + 1) * 2**28)
        record.write(tmp_path / "stages" / f"{stage}.json")
    records.mixture(sources={"web": records.source(tokens=900)}).write(
        tmp_path / "mixture/manifest.json"
    )
    parity = records.parity(max_abs_diff=2e-5, positions=508)
    records.conversion(parity=parity).write(tmp_path / "base/conversion.json")
    records.configuration().write(tmp_path / "pretrain/config.json")
    records.starts().write(tmp_path / "pretrain/provenance.json")
    history = [
        {"step": 10, "loss": 2.0},
        {"step": 20, "loss": 1.0},
        {"step": 20, "eval_loss": 1.1},
        {"step": 20, "train_runtime": 3.0},
    ]
    tuned = records.sft(history=[LogEntry(**entry) for entry in history])
    tuned.write(tmp_path / "sft/model/sft.json")
    # A run that was killed at step 2 and resumed at step 1 writes step 1 twice.
    for attempt, steps in enumerate(((0, 1, 2), (1, 2, 3))):
        folder = tmp_path / "pretrain/tensorboard/pretrain"
        with SummaryWriter(str(folder), filename_suffix=f".{attempt}") as writer:
            for step in steps:
                writer.add_scalar("learning/loss", 5.0 - step - attempt / 2, step)
                writer.add_scalar("learning/total_weights", 100, step)
                writer.add_scalar("eval/avg_loss", 6.0 - step, step)
    for name, value in (("base", 0.1), ("sft", 0.95)):
        figures = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 200}
        records.results(
            **figures,
            metric="exact_match",
            metrics={"exact_match": records.estimate(**figures)},
            interval="bootstrap" if name == "sft" else "Wilson",
        ).write(tmp_path / f"evaluation/{name}/results.json")
        samples = [
            records.sample(question="Q?", completions=["S.\n#### 2"], expected="2", correct=n > 0)
            for n in range(6)
        ]
        write_lines(tmp_path / f"evaluation/{name}/samples.jsonl", samples)
    return tmp_path


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_report(run, capsys) -> None:
    main(["--run", str(run)])
    report = json.loads((run / "report.json").read_text())
    figures = {"value": 0.95, "low": 0.95 - 0.05, "high": 0.95 + 0.05, "n": 200}
    assert report["accuracy"]["sft"] == {
        "task": "arithmetic", "metric": "exact_match", "shots": 0, "form": "chat", **figures,
        "interval": "bootstrap", "metrics": {"exact_match": figures},
        "groups": {}, "differences": {},
    }  # fmt: skip
    assert [sample["correct"] for sample in report["samples"]] == [True, True, True, False]
    assert report["accuracy"]["base"]["value"] == 0.1
    assert report["accuracy"]["base"]["interval"] == "Wilson"
    assert report["parity"]["max_abs_diff"] == 2e-5
    assert report["parity"]["argmax_agreement"] == 1.0
    assert report["parameters"] == 12_345
    assert report["seconds"] == {stage: 10.0 * (i + 1) for i, stage in enumerate(STAGES)}
    assert report["tokens"] == {"data": 900, "pretrain": 400, "sft": 777}
    assert report["loss"]["sft"] == {
        "train": {"first": 2.0, "last": 1.0}, "eval": {"first": 1.1, "last": 1.1},
    }  # fmt: skip
    assert report["curves"]["pretrain"]["train"] == [[0, 5.0], [1, 3.5], [2, 2.5], [3, 1.5]]
    text = squeezed((run / "report.md").read_text())
    printed = squeezed(capsys.readouterr().out)
    for words in ("12,345 parameters", "95.0% (90.0% to 100.0%, n = 200)", "| in total | 210 |"):
        assert words in text
        assert words in printed
    assert "Intervals are 95 % Wilson or bootstrap intervals." in text
    assert text.count("**Q?**") == 4
    assert text.count("(wrong, expected 2)") == 1
    assert f"Page: {run / 'report.html'}" in printed
    assert "<h1>Report of" in (run / "report.html").read_text()
    assert (run / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_without_earlier_phases_there_is_no_word_of_them(run, capsys) -> None:
    main(["--run", str(run)])
    assert "left out" not in capsys.readouterr().out
    assert "earlier_data" not in (run / "report.json").read_text()
    page = (run / "report.html").read_text()
    assert '<p class="result">900 tokens from 1 source</p>' in page
    assert "<h3>Pretraining</h3>\n<figure>" in page


def test_what_the_accuracies_consist_of_is_shown(run) -> None:
    path = run / "evaluation/sft/results.json"
    results = Results.load(path).model_copy(
        update={
            "differences": {"names_and_numbers": records.difference()},
            "groups": {"level": {"1": records.estimate(value=0.75, n=12)}},
        }
    )
    results.write(path)
    searched = records.contamination(results_sha256=file_hash(path))
    searched.write(path.with_name("contamination.json"))
    main(["--run", str(run)])
    text = squeezed((run / "report.md").read_text())
    for words in (
        "| sft | arithmetic | pretraining | 200 | 2 | 50.0% (40.0% to 60.0%) | 100.0% (40.0% to ",
        "| sft | names and numbers | 300 | 50.0% | 40.0% | -10.0 | -15.0 to -5.0 |",
        "| sft | arithmetic | level | 1 | 12 | 75.0% | 40.0% to 60.0% |",
    ):
        assert words in text
    page = (run / "report.html").read_text()
    for title in ("Problems in the training text", "Variants of the problems"):
        assert f"<h3>{title}</h3>" in page
    assert "A problem is found where a document contains 70% of a problem" in page
    assert "<td>names and numbers</td>" in page


def test_bars(run, tmp_path) -> None:
    path = tmp_path / "bars.yaml"
    path.write_text("accuracy.sft.value: {least: 0.9}\nseconds.data: {most: 10, least: 10}\n")
    main(["--run", str(run), "--bars", str(path)])
    path.write_text("accuracy.sft.value: {least: 0.96}\nparity.max_abs_diff: {most: 1.0e-5}\n")
    with pytest.raises(InputError) as error:
        main(["--run", str(run), "--bars", str(path)])
    assert "accuracy.sft.value is 0.95, accepted is at least 0.96" in str(error.value)
    assert "parity.max_abs_diff is 2e-05, accepted is at most 1e-05" in str(error.value)
    path.write_text("loss.pretrain.eval.last: {most: loss.pretrain.eval.first}\n")
    main(["--run", str(run), "--bars", str(path)])
    path.write_text("accuracy.sft.value: {most: accuracy.base.value}\n")
    with pytest.raises(InputError, match=r"accuracy\.sft\.value is 0.95, accepted is at most 0.1"):
        main(["--run", str(run), "--bars", str(path)])
    path.write_text("accuracy.dpo.value: {least: 0.9}\n")
    with pytest.raises(InputError, match=r"no figure 'accuracy\.dpo\.value'"):
        main(["--run", str(run), "--bars", str(path)])


@pytest.mark.parametrize("name", ["accuracy", "accuracy.sft", "accuracy.sft.task"])
def test_a_bar_needs_a_figure(name) -> None:
    record = {"accuracy": {"sft": {"task": "gsm8k", "value": 0.5}}}
    with pytest.raises(InputError, match=f"'{name}' in the report is not a figure"):
        missed(record, {name: Bar(least=0.0)})


def test_a_nan_misses_every_bar() -> None:
    assert missed({"loss": float("nan")}, {"loss": Bar(most=1.0)})
    assert missed({"loss": float("nan")}, {"loss": Bar(least=0.0)})


def test_the_quickstarts_bars_are_figures_of_a_report(run) -> None:
    record = collect(run).as_json()
    for name in load(Path("release/quickstart_bars.yaml")):
        missed(record, {name: Bar(least=0)})


def test_an_unfinished_or_unproven_run_is_reported(run) -> None:
    records.stage(finished=False).write(run / "stages/sft.json")
    with pytest.raises(InputError, match="stage sft is not finished"):
        collect(run)
    (run / "stages/sft.json").unlink()
    records.conversion(parity=None).write(run / "base/conversion.json")
    with pytest.raises(InputError, match="was not proven"):
        collect(run)


@pytest.mark.parametrize(
    "record",
    [
        "mixture/manifest.json",
        "base/conversion.json",
        "sft/model/sft.json",
        "evaluation/sft/samples.jsonl",
    ],
)
def test_a_missing_record_is_named(run, record) -> None:
    (run / record).unlink()
    with pytest.raises(InputError, match=record.rsplit("/", 1)[1]):
        collect(run)


def test_missing_events_and_a_missing_run_are_reported(run, tmp_path) -> None:
    for file in (run / "pretrain").rglob("events*"):
        file.unlink()
    with pytest.raises(InputError, match="no TensorBoard events of learning/loss"):
        collect(run)
    with pytest.raises(InputError, match="no stage was run there"):
        collect(tmp_path / "none")


def test_the_sets_are_counted_where_they_are(run, tmp_path) -> None:
    counts = records.example_counts(read=5, kept=4, rejected={"contaminated": 1}, tokens=70)
    assert collect(run).sft_data is None
    for values, folder in (
        ({}, run / "sft/data"),
        ({"data_dir": str(tmp_path / "d")}, tmp_path / "d"),
    ):
        records.tuning_run(values=values).write(run / "sft/inputs.json")
        records.examples(sources={folder.name: counts}).write(folder / "manifest.json")
        documents = Documents(read=5, kept=4, rejected={"contaminated": 1})
        expected = SourceSummary(tokens=70, weight=None, documents=documents)
        assert collect(run).sft_data == {folder.name: expected}


def test_the_stages_are_shown_in_the_order_they_ran(run) -> None:
    for number, stage in enumerate(reversed(STAGES)):
        attempts = [Attempt(started=float(number), ended=float(number + 1))]
        record = records.stage(command=f"run {stage}", attempts=attempts)
        record.write(run / f"stages/{stage}.json")
    stages = collect(run).stages
    assert list(stages) == list(reversed(STAGES))
    assert stages["sft"].command == "run sft"


def test_what_is_half_written_is_no_stage_and_no_evaluation(run) -> None:
    main(["--run", str(run)])
    before = (run / "report.md").read_text()
    for name in ("sft.vm-20778.partial.json", ".sft.json.partial"):
        (run / "stages" / name).write_text('{"finished": false}')
    (run / "evaluation/sft.partial").mkdir()
    (run / "evaluation/sft.partial/results.json").write_text("{}")
    main(["--run", str(run)])
    assert (run / "report.md").read_text().splitlines()[:-1] == before.splitlines()[:-1]


def test_a_report_without_room_names_its_file(run) -> None:
    with (
        room_for(5000),
        pytest.raises(InputError, match=r"losses\.png: cannot be written \(File to"),
    ):
        main(["--run", str(run)])
    assert {path.name for path in run.iterdir()} == {
        "base", "evaluation", "mixture", "pretrain", "sft", "stages",
    }  # fmt: skip
