"""Makes the record of a report from the other records of a run; nothing is measured here."""

from collections.abc import Sequence
from pathlib import Path

from release.cards.left_out import LeftOut
from release.mixtures import earlier_mixtures, last_mixture
from release.recipes import summary
from release.records import Curve, Folders, RunRecords, pretrain_curves
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.records.conversion import Conversion
from tinymathreason.records.evaluation import Results, SampleRecord
from tinymathreason.records.mixture import Documents, Mixture
from tinymathreason.records.report import (
    Ends,
    Report,
    ReportAccuracy,
    ReportAnswer,
    SourceSummary,
    SplitCurves,
    SplitEnds,
    StageSummary,
    Tokens,
)
from tinymathreason.records.tuning import LogEntry, SftRecord

SAMPLES = 3
"""Right answers that a report shows, and wrong ones."""


def collect(run: Path, mixtures: Sequence[Path] = (), left_out: LeftOut | None = None) -> Report:
    """The report of a pipeline's run, which remembers in ``left_out`` what it does not have.

    ``mixtures`` are the folders of those of all phases, oldest first; by default the run's.
    Raises `InputError` naming the record that is missing, damaged or of an unfinished stage, and
    for a mixture that is of no phase.
    """
    folders, left_out = Folders.of(run).with_mixtures(mixtures), left_out or LeftOut()
    records = RunRecords.load(folders)
    if not records.stages:
        raise InputError(f"{run}: no stage was run there; run a pipeline first")
    for name, stage in records.stages.items():
        if not stage.finished:
            raise InputError(f"{run}: stage {name} is not finished; run the pipeline again")
    # Loading a file that does not exist ends in the line that names it.
    mixture: Mixture | None = records.mixture or Mixture.load(folders.mixture / "manifest.json")
    conversion = records.conversion or Conversion.load(folders.base / "conversion.json")
    sft = SftRecord.load(folders.model / "sft.json")
    if conversion.parity is None:
        raise InputError(f"{run}: the conversion was not proven; convert without --skip-parity")
    earlier = earlier_mixtures(records, left_out)
    if earlier or mixtures:  # it may be that of another phase, or of another model
        mixture = last_mixture(records, left_out)
    known = [one for one in (*earlier.values(), mixture) if one]
    train, held_out, tokens = pretrain_curves(folders.pretrain)
    curves = {
        "pretrain": SplitCurves(train=train, eval=held_out),
        "sft": SplitCurves(
            train=_curve(sft.history, "loss"), eval=_curve(sft.history, "eval_loss")
        ),
    }
    return Report(
        run=str(run),
        recipes=summary(records),
        stages={
            name: StageSummary(
                command=stage.command,
                commit=stage.commit,
                seconds=stage.seconds,
                peak_bytes=stage.peak_bytes,
            )
            for name, stage in records.stages.items()
        },
        data=_sources(mixture) if mixture else {},
        earlier_data={name: _sources(one) if one else None for name, one in earlier.items()},
        sft_data=_examples(records),
        seconds={name: stage.seconds for name, stage in records.stages.items()},
        peak_bytes={name: stage.peak_bytes for name, stage in records.stages.items()},
        tokens=Tokens(
            data=sum(s.tokens for one in known for s in one.sources.values()) if known else None,
            pretrain=tokens,
            sft=sft.tokens,
        ),
        parameters=conversion.parameters,
        parity=conversion.parity,
        loss={stage: _ends(run, stage, splits) for stage, splits in curves.items()},
        curves=curves,
        accuracy={
            path.parent.name: _accuracy(results) for path, results in records.results.items()
        },
        contamination={path.parent.name: record for path, record in records.contamination.items()},
        samples=_answers(folders.evaluation / "sft" / "samples.jsonl"),
        provenance=provenance.record(),
    )


def _sources(mixture: Mixture) -> dict[str, SourceSummary]:
    weights = {name: source.weight for name, source in mixture.recipe.sources.items()}
    return {
        name: SourceSummary(
            tokens=source.tokens, weight=weights.get(name), documents=source.documents
        )
        for name, source in mixture.sources.items()
    }


def _curve(history: list[LogEntry], key: str) -> Curve:
    values = ((entry.step, getattr(entry, key)) for entry in history)
    return [(step, value) for step, value in values if value is not None]


def _ends(run: Path, stage: str, splits: SplitCurves) -> SplitEnds:
    for split, curve in splits:
        if not curve:
            raise InputError(f"{run}: stage {stage} recorded no {split} loss")
    return SplitEnds(
        train=Ends(first=splits.train[0][1], last=splits.train[-1][1]),
        eval=Ends(first=splits.eval[0][1], last=splits.eval[-1][1]),
    )


def _examples(records: RunRecords) -> dict[str, SourceSummary] | None:
    if records.examples is None:
        return None
    return {
        name: SourceSummary(
            tokens=source.tokens,
            weight=None,
            documents=Documents(read=source.read, kept=source.kept, rejected=source.rejected),
        )
        for name, source in records.examples.sources.items()
    }


def _accuracy(results: Results) -> ReportAccuracy:
    return ReportAccuracy(**{name: getattr(results, name) for name in ReportAccuracy.model_fields})


def _answers(path: Path) -> list[ReportAnswer]:
    """The tuned model's first right answers, then its first wrong ones."""
    answers: dict[bool, list[ReportAnswer]] = {True: [], False: []}
    for sample in SampleRecord.load_lines(path):
        if len(answers[sample.correct]) < SAMPLES:
            fields = {name: getattr(sample, name) for name in ReportAnswer.model_fields}
            answers[sample.correct].append(ReportAnswer(**fields))
    if not any(answers.values()):
        raise InputError(f"{path}: holds no sample; evaluate again")
    return answers[True] + answers[False]
