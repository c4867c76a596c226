"""Command: find the problems of a run's evaluations in the text that its model was trained on.

python -m release.contamination --run RUN_DIR [--mixture DIR ...] [--workers N]

It writes ``contamination.json`` beside each ``results.json``, with the accuracy on the problems
that were found and on the others. The report and the card show it.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinymathreason import cli
from tinymathreason.arguments import positive
from tinymathreason.cli import InputError

if TYPE_CHECKING:
    from release.training_text import TextFile
    from tinymathreason.records.contamination import Contamination, SearchedText
    from tinymathreason.records.evaluation import Results, SampleRecord

FILE = "contamination.json"
VERSIONS = ("kind", "perturbation_type")
"""Columns that tell the versions of one problem apart: our variants of GSM8K, and GSM-Plus."""


@dataclass(frozen=True)
class TrainingText:
    """A folder of text that a model was trained on."""

    stage: Literal["pretraining", "fine-tuning"]
    folder: Path


def measure(evaluations: Mapping[Path, Sequence[TrainingText]], workers: int) -> dict[Path, Any]:
    """The `Contamination` of each evaluation, by its folder, in the texts of its model's training.

    Every text is read once, for the problems of all evaluations. Raises `InputError` for a folder
    that lacks its records.
    """
    from release.training_text import MANIFEST, is_searchable, search
    from tinymathreason.provenance import file_hash
    from tinymathreason.records.contamination import SearchedText
    from tinymathreason.records.evaluation import Results, SampleRecord

    # Every file that is missing is reported before the long search.
    parts = {text: _files(text) for texts in evaluations.values() for text in texts}
    results = {folder: Results.load(folder / "results.json") for folder in evaluations}
    samples = {
        folder: list(SampleRecord.load_lines(folder / "samples.jsonl")) for folder in evaluations
    }
    questions = {sample.question: None for side in samples.values() for sample in side}
    searched = [question for question in questions if is_searchable(question)]
    single = {sample.question for side in samples.values() for sample in _one_version(side)}
    phrases = [question for question in searched if question in single]
    files_of_all = [file for files in parts.values() for file in files]
    found = iter(search(files_of_all, searched, phrases, workers))
    reports: dict[TrainingText, tuple[SearchedText, set[str]]] = {}
    for text, files in parts.items():
        of_text = list(itertools.islice(found, len(files)))
        manifest = text.folder / MANIFEST
        part = SearchedText(
            stage=text.stage,
            manifest=str(manifest),
            manifest_sha256=file_hash(manifest),
            documents=sum(documents for _, documents in of_text),
            found=0,
        )
        reports[text] = (part, set().union(*(contained for contained, _ in of_text)))
    return {
        folder: _contamination(
            folder,
            results[folder],
            samples[folder],
            [reports[text] for text in texts],
            set(searched),
        )
        for folder, texts in evaluations.items()
    }


def _one_version(samples: "Sequence[SampleRecord]") -> "list[SampleRecord]":
    """One version of each problem: of each column of `VERSIONS`, the first value.

    The words that the versions share are not a phrase of the benchmark, and whether a problem is
    found must not depend on which variants of it are asked.
    """
    first = {
        column: next((s.groups[column] for s in samples if column in s.groups), None)
        for column in VERSIONS
    }
    return [
        sample
        for sample in samples
        if all(sample.groups.get(column, first[column]) == first[column] for column in VERSIONS)
    ]


def _files(text: TrainingText) -> "list[TextFile]":
    from release.training_text import example_files, mixture_files

    return (mixture_files if text.stage == "pretraining" else example_files)(text.folder)


def _contamination(
    folder: Path,
    results: "Results",
    samples: "list[SampleRecord]",
    reports: "Sequence[tuple[SearchedText, set[str]]]",
    searched: set[str],
) -> "Contamination":
    from data_prep.contamination import LONG, LONG_SHARE, LONG_WINDOW, SHARE, WINDOW
    from evaluation.interval import estimate
    from tinymathreason import provenance
    from tinymathreason.records.contamination import Contamination

    contained = set().union(*(questions for _, questions in reports))
    sides: dict[bool, list[float]] = {True: [], False: []}
    for sample in samples:
        sides[sample.question in contained].append(sample.metrics[results.metric])
    clean, contaminated = (estimate(sides[side]) if sides[side] else None for side in (False, True))
    texts = [
        part.model_copy(update={"found": sum(s.question in questions for s in samples)})
        for part, questions in reports
    ]
    return Contamination(
        results_sha256=provenance.file_hash(folder / "results.json"),
        texts=texts,
        rule=f"{LONG_SHARE:.0%} of a problem's runs of {LONG_WINDOW} letters, or, of one with "
        f"fewer than {LONG} letters, {SHARE:.0%} of its runs of {WINDOW} letters",
        problems=len(samples),
        too_short=sum(sample.question not in searched for sample in samples),
        found=[sample.id for sample in samples if sample.question in contained],
        metric=results.metric,
        clean=clean,
        contaminated=contaminated,
        provenance=provenance.record(),
    )


def summary(results: dict[Path, "Contamination"]) -> str:
    """A table for a terminal: each evaluation with the accuracy on both sides."""
    from release.breakdown import with_interval
    from tinymathreason.tables import text_table

    rows = []
    for folder, record in results.items():
        sides = (with_interval(s, "{:.1%}".format) for s in (record.clean, record.contaminated))
        rows.append([folder.name, f"{record.problems:,}", f"{len(record.found):,}", *sides])
    return text_table(["evaluation", "problems", "found", "accuracy, others", "found ones"], rows)


def trainings(arguments: argparse.Namespace) -> tuple[dict[Path, list[TrainingText]], list[str]]:
    """What the model of each evaluation was trained on; and, in words, what is left out.

    Raises `InputError` when nothing is left.
    """
    from release.lineage import tuning_record
    from release.records import Folders, examples_folder
    from tinymathreason.files import whole
    from tinymathreason.provenance import file_hash, model_hash
    from tinymathreason.records.evaluation import Results
    from tinymathreason.records.mixture import Mixture
    from tinymathreason.records.tuning import SftRecord

    folders = Folders.of(arguments.run)
    model = arguments.model or (folders.model if folders.tuning else folders.base)
    place = arguments.evaluation or folders.evaluation
    mixtures = arguments.mixture or [folders.mixture] * folders.mixture.exists()
    for mixture in mixtures:
        Mixture.load(mixture / "manifest.json")
    if trained := _trained_mixture(folders.pretrain):
        hashes = [file_hash(mixture / "manifest.json") for mixture in mixtures]
        if mixtures and trained not in hashes:
            raise InputError(
                f"{mixtures[0]}: is not the mixture that {folders.pretrain} was trained on; name "
                "that one by --mixture"
            )
    pretraining = [TrainingText("pretraining", mixture) for mixture in mixtures]
    tuned, left_out = tuning_record(model), []
    sha256 = model_hash(model)
    texts = {sha256: pretraining}
    if tuned:
        texts[tuned.base] = pretraining
        examples = arguments.examples or examples_folder(model.parent)
        if isinstance(tuned, SftRecord):
            manifest = examples / "manifest.json"
            if not manifest.is_file() or file_hash(manifest) != tuned.manifest:
                raise InputError(
                    f"{examples}: does not hold the examples that {model} was tuned on; name their "
                    "folder by --examples"
                )
            texts[sha256] = [*pretraining, TrainingText("fine-tuning", examples)]
        else:
            left_out.append(f"{model}: only the examples of sft.run are searched, not its problems")
    evaluations = {}
    for path in whole(place, "*/results.json"):
        if searched := texts.get(Results.load(path).model_sha256):
            evaluations[path.parent] = searched
        else:
            left_out.append(f"{path.parent}: no text of its model's training is known")
    if not evaluations:
        raise InputError(
            f"{place}: holds no evaluation of {model} or of its base whose training text is here"
        )
    return evaluations, left_out


def _trained_mixture(run: Path) -> str | None:
    """SHA-256 of the manifest of the mixture that a pretraining began with, where it is known."""
    from tinymathreason.records.pretraining import Starts

    path = run / "provenance.json"
    mixture = Starts.load(path).starts[-1].mixture if path.is_file() else None
    return mixture.manifest_sha256 if mixture else None


def main(argv: Sequence[str]) -> None:
    """Parse the command line, search, write the records and print their figures."""
    parser = argparse.ArgumentParser(
        prog="release.contamination",
        description="Find the problems of a run's evaluations in the text of its training.",
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a pipeline's run")
    parser.add_argument(
        "--mixture", type=Path, action="append",
        help="several for a model with a last phase of its own; default: RUN/mixture",
    )  # fmt: skip
    parser.add_argument("--examples", type=Path, help="default: those of the model's fine-tuning")
    parser.add_argument("--model", type=Path, help="default: RUN/sft/model, else RUN/base")
    parser.add_argument("--evaluation", type=Path, help="default: RUN/evaluation")
    parser.add_argument(
        "--workers", type=positive, default=1, help="processes, each of which reads one file"
    )
    arguments = parser.parse_args(argv)
    evaluations, left_out = trainings(arguments)
    for line in left_out:
        print(line)
    results = measure(evaluations, arguments.workers)
    for folder, record in results.items():
        record.write(folder / FILE)
    print(summary(results))
    print(f"{FILE} written beside each results.json")


if __name__ == "__main__":
    cli.run(main)
