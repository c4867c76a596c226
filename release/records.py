"""The records of a run: where their files are, and the models loaded from them.

The report and the card both read a run through `RunRecords`, so that a damaged record ends either
of them in the same line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import pydantic

from pretrain.watch.history import HELD_OUT, LOSS, WEIGHTS, History
from release.lineage import TUNINGS, AnyTuned, tuning_record
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, whole
from tinymathreason.provenance import file_hash
from tinymathreason.records.base import Positive, Record
from tinymathreason.records.contamination import Contamination
from tinymathreason.records.conversion import Conversion
from tinymathreason.records.evaluation import Results
from tinymathreason.records.examples import ExamplesManifest
from tinymathreason.records.mixture import Mixture
from tinymathreason.records.pretraining import Configuration, StartRecord, Starts
from tinymathreason.records.stage import Stage
from tinymathreason.records.tuning import SftRecord, TuningRun

Curve = list[tuple[int, float]]
"""Pairs of a step and a loss in nats a token."""


@dataclass(frozen=True)
class Folders:
    """Where the records of a run are. A folder that does not exist holds none."""

    mixture: Path
    pretrain: Path
    base: Path
    """Of the converted model."""
    model: Path
    """Of the tuned model; that of ``base`` where none was tuned."""
    evaluation: Path
    stages: Path
    earlier_mixtures: tuple[Path, ...] = ()
    """Of the phases of pretraining before the last one."""

    @classmethod
    def of(cls, run: Path) -> Self:
        """The folders of a pipeline's run."""
        return cls(
            mixture=run / "mixture",
            pretrain=run / "pretrain",
            base=run / "base",
            model=run / "sft" / "model",
            evaluation=run / "evaluation",
            stages=run / "stages",
        )

    def with_mixtures(self, mixtures: Sequence[Path]) -> Self:
        """These folders with the mixtures of all phases of pretraining, oldest first, if given."""
        if not mixtures:
            return self
        *earlier, last = mixtures
        return replace(self, mixture=last, earlier_mixtures=tuple(earlier))

    @property
    def tuning(self) -> str | None:
        """The name of the record of fine-tuning; None for a base model."""
        return next((name for name in TUNINGS if (self.model / name).is_file()), None)


class ModelConfig(pydantic.BaseModel):
    """``config.json`` of a Llama in transformers' format; its other keys are not read."""

    model_config = pydantic.ConfigDict(strict=True, protected_namespaces=())

    architectures: Annotated[list[str], pydantic.Field(min_length=1)]
    hidden_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    head_dim: Positive | None = None
    intermediate_size: Positive
    vocab_size: Positive
    max_position_embeddings: Positive
    tie_word_embeddings: bool = False

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The configuration in a model's folder; `InputError` names the file and the field."""
        path = folder / "config.json"
        try:
            return cls.model_validate(read_json(path))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "its content"
            raise InputError(f"{path}: {field}: {first['msg']}") from error


@dataclass(frozen=True)
class RunRecords:
    """The records of a run; None, or nothing, for those that do not exist."""

    folders: Folders
    mixture: Mixture | None
    configuration: Configuration | None
    starts: list[StartRecord]
    """The starts of pretraining, in order."""
    conversion: Conversion | None
    tuned: AnyTuned | None
    examples_path: Path
    """The file of ``examples``, whether it exists or not."""
    examples: ExamplesManifest | None
    results: dict[Path, Results]
    """The evaluations, by their file."""
    contamination: dict[Path, Contamination]
    """Where their problems were searched in the training text, by the evaluation's file."""
    stages: dict[str, Stage]
    """In the order in which they were started."""
    earlier_mixtures: dict[Path, Mixture]
    """Of the phases of pretraining before the last one, by their folders."""

    @property
    def pretrained(self) -> bool:
        """Whether any record of pretraining or of a conversion exists."""
        return bool(self.mixture or self.configuration or self.starts or self.conversion)

    @classmethod
    def load(cls, folders: Folders) -> Self:
        """Load every record. Raises `InputError` naming the file and the field of a damaged one."""
        starts = _optional(Starts, folders.pretrain / "provenance.json")
        stages = {path.stem: Stage.load(path) for path in whole(folders.stages, "*.json")}
        started = sorted(stages.items(), key=lambda item: (item[1].attempts[0].started, item[0]))
        tuned = tuning_record(folders.model)
        examples_path = examples_folder(folders.model.parent) / "manifest.json"
        results = {path: Results.load(path) for path in whole(folders.evaluation, "*/results.json")}
        return cls(
            folders=folders,
            mixture=_optional(Mixture, folders.mixture / "manifest.json"),
            configuration=_optional(Configuration, folders.pretrain / "config.json"),
            starts=starts.starts if starts else [],
            conversion=_optional(Conversion, folders.base / "conversion.json"),
            tuned=tuned,
            examples_path=examples_path,
            # Preference optimisation has pairs or problems there instead.
            examples=(
                _optional(ExamplesManifest, examples_path) if isinstance(tuned, SftRecord) else None
            ),
            results=results,
            contamination={path: one for path in results if (one := _contamination(path))},
            stages=dict(started),
            earlier_mixtures={
                folder: Mixture.load(folder / "manifest.json")
                for folder in folders.earlier_mixtures
            },
        )


def _optional[R: Record](kind: type[R], path: Path) -> R | None:
    return kind.load(path) if path.is_file() else None


def _contamination(results: Path) -> Contamination | None:
    """The record beside an evaluation's; `InputError` when it is of another evaluation."""
    path = results.with_name("contamination.json")
    record = _optional(Contamination, path)
    if record and record.results_sha256 != file_hash(results):
        raise InputError(f"{path}: is of another evaluation; run {Contamination.writer} again")
    return record


def examples_folder(run: Path) -> Path:
    """The folder of a fine-tuning's examples: its ``data``, or the one that the user named."""
    inputs = _optional(TuningRun, run / "inputs.json")
    named = inputs.values.get("data_dir") if inputs else None
    return Path(named) if isinstance(named, str) and named else run / "data"


def pretrain_curves(run: Path) -> tuple[Curve, Curve, int]:
    """Training and held-out loss by step, and the tokens trained on, from TensorBoard events.

    ``run`` is the folder of a pretraining run. A step that was repeated after a resume counts once,
    with its last value.
    """
    history = History(str(run))
    history.update()
    series = {tag: history.series(tag) for tag in (LOSS, HELD_OUT, WEIGHTS)}
    if missing := [tag for tag in series if not len(series[tag].steps)]:
        raise InputError(f"{run}: no TensorBoard events of {', '.join(missing)}")
    train, held_out = (
        list(zip(series[tag].steps.tolist(), series[tag].values.tolist(), strict=True))
        for tag in (LOSS, HELD_OUT)
    )
    return train, held_out, int(series[WEIGHTS].values.sum())
