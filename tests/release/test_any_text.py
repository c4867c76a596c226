"""Whatever a record or a command line holds, the card and the report show it as text."""

import pytest
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, assume, example, given, settings

from release import card
from release.markdown import one_line, visible
from release.report.__main__ import document
from tests.release.test_card import MANIFEST, RESULT, SFT, make
from tests.support import records
from tests.support.markdown import ANY_ARGUMENT, ANY_TEXT, shown
from tinymathreason.records.report import ReportAnswer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MARKER = (
    f"<!-- release.card model_sha256={'1' * 64} asking_sha256={'2' * 64} text_sha256={'3' * 64} -->"
)
SLOW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW
@given(ANY_TEXT, ANY_ARGUMENT)
@example("<script>alert(1)</script>", "</h1><script>")
@example(MARKER, MARKER)
@example("it's | a `quote` \\", "--- [x](y)")
def test_a_card_shows_any_text(tmp_path_factory, text, argument) -> None:
    line, label = one_line(text), one_line(argument)
    assume(label)
    run = tmp_path_factory.mktemp("card") / "run"
    web, sums = MANIFEST["sources"].values()
    documents = {**web["documents"], "rejected": {text: 383}}
    planned = {"format": "parquet", "path": text, "weight": 1.0}
    manifest = {
        **MANIFEST,
        "sources": {text: {**web, "documents": documents}, "sums": sums},
        "recipe": {
            **MANIFEST["recipe"],
            "sources": {text: planned},
            "decontaminate": [{"path": text}],
        },
        "epochs": {text: 1.0, "sums": 1.0},
    }
    request = {**RESULT["request"], "data": text}
    result = {**RESULT, "task": text, "metric": text, "prompt_version": text, "request": request}
    make(
        run,
        MANIFEST=manifest,
        RESULT={**result, "metrics": {}},
        SFT={**SFT, "provenance": {**SFT["provenance"], "versions": {"torch": text}}},
        STAGES={"data": (1.0, text)},
    )
    arguments = ["--run", str(run), "--output", str(run), "--name", argument, "--author", argument]
    for _ in range(2):  # the second is refused unless the line that tells of edits is found
        card.main(arguments)
    made = (run / "README.md").read_text(encoding="utf-8")
    body = made.split("\n---\n", 1)[1].rsplit("\n\n<!-- release.card", 1)[0]
    leaves = shown(body, links=True)
    assert leaves[0] == label
    assert f"Developed by: {label}" in leaves
    assert leaves.count(line) >= 4  # of the source, its reason, the task and the metric
    assert any(leaf.endswith(f"torch {line}:") for leaf in leaves) or not line
    assert f"{visible(text)}\n" in leaves
    assert ModelCard(made).data.to_dict()


@given(ANY_TEXT)
@example("```\n# x\n<b>")
@example("")
def test_a_report_shows_any_text(text) -> None:
    line = one_line(text)
    report = records.report()
    answer = ReportAnswer(question=text, completions=[text], expected=text, correct=False)
    accuracy = records.change(report.accuracy["sft"], task=text, interval=text)
    stage = report.stages["data"]
    report = records.change(
        report,
        run=text,
        stages={"data": stage, "evaluate_sft": stage, text: stage},
        accuracy={"sft": accuracy},
        samples=[answer],
        provenance=records.provenance(commit=text, versions={"torch": text}),
    )
    leaves = shown(document(report).replace("![loss curves](losses.png)", "picture"))
    assert leaves[0] == f"Report of {line}".strip()
    assert any(leaf.startswith(f"{line}: 50.0% (") for leaf in leaves)
    assert f"{visible(text)}\n" in leaves
    assert f"(wrong, expected {line})".replace("  ", " ") in leaves or not line
    assert line in leaves
