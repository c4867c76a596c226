"""A YAML file and arguments in; our keys and TRL's, checked, out."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from data_prep.recipe import BenchmarkQuestions
from sft import arithmetic
from sft.arguments import read
from tinymathreason.chatml import TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.config import build, config, merge, nearest, read_yaml

CONFIGS = Path(__file__).parent / "configs"
"""Where a configuration is looked for after the working folder."""


@config
class QuestionSource:
    """One set of questions and worked answers."""

    format: Literal["jsonl", "json", "parquet", "arithmetic"]
    """How the rows are stored; ``arithmetic`` makes them with `tinymathreason.arithmetic`."""
    path: str | None = None
    """A glob of files, here or remote (``hf://datasets/ORG/NAME@COMMIT/FILE``); not for
    ``arithmetic``."""
    question: str = "question"
    """The column that holds the question."""
    answer: str = "answer"
    """The column that holds the worked answer."""
    group: str | None = None
    """A column that is equal in variants of one question: they go to the same split. Default: the
    question itself."""
    where: dict[str, str] = field(default_factory=dict)
    """Take only rows whose column matches the pattern, such as ``source: data/CoT/*``."""
    examples: int | None = None
    """Read this many rows; None reads all. ``arithmetic`` needs it."""

    def __post_init__(self) -> None:
        if (self.format == "arithmetic") != (self.path is None):
            raise ValueError("path is needed, except for format arithmetic, which has none")
        if self.format == "arithmetic" and self.examples is None:
            raise ValueError("the generator is endless: say how many examples it gives")
        if self.format == "arithmetic" and (self.group or self.where):
            raise ValueError("group and where name columns; format arithmetic has none")
        if self.examples is not None and self.examples < 1:
            raise ValueError(f"examples must be at least 1 (got {self.examples})")


@config
class Questions:
    """Sets of questions, and what is common to all of them."""

    sources: dict[str, QuestionSource]
    """Sets to join, by the name their counts will have. Of a question that several of them have,
    the first one's examples stay."""
    decontaminate: list[BenchmarkQuestions] = field(default_factory=list)
    """Benchmarks whose questions must not be learnt."""
    near_duplicates: bool = True
    """Whether a question that is nearly another source's is rejected, not only an equal one."""
    data_seed: int = 0
    """Seed of the generator and of the choice of held-out questions."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")
        if not 0 <= self.data_seed < 2**64:
            raise ValueError(f"data_seed must be between 0 and 2**64 - 1 (got {self.data_seed})")


@config
class Accuracy:
    """Greedy answers to some problems, while the training goes on."""

    task: str | None = None
    """A task of `evaluation.tasks`; None takes held-out examples that have a number for answer,
    which a model may be chosen by without touching a benchmark."""
    data: str | None = None
    """The task's file, here or remote, where it needs one."""
    problems: int = 100
    """How many of its problems are asked."""
    every: int = 500
    """Optimiser steps between two measurements; there is one at the end too."""
    max_new_tokens: int = 256
    """Longest answer; a solution that needs more counts as wrong."""
    batch_size: int = 50
    """Problems answered together."""

    def __post_init__(self) -> None:
        for name in ("problems", "every", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 (got {getattr(self, name)})")


@config
class SftData(Questions):
    """Everything that decides the examples and their form."""

    chat_template: Path = TEMPLATE
    """Jinja template with a generation block around what the loss sees."""
    eval_fraction: float = 0.01
    """Share of the questions held out for the evaluation loss, chosen by their hash."""
    data_dir: Path | None = None
    """Folder of the prepared examples; default: ``data`` under output_dir."""
    accuracy: Accuracy | None = None
    """What to measure beside the loss; nothing by default."""

    def __post_init__(self) -> None:
        Questions.__post_init__(self)
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must be between 0 and 1 (got {self.eval_fraction})")
        if not self.chat_template.is_file():
            raise ValueError(f"no template {self.chat_template}; shipped: {TEMPLATE}")


@dataclasses.dataclass(frozen=True)
class Settings[T]:
    """Everything that decides a run."""

    data: T
    """Our keys."""
    training: Any
    """TRL's configuration of the trainer, such as SFTConfig."""
    model: Any
    """TRL's ModelConfig."""
    inputs: dict[str, Any]
    """What the user wrote, to tell one run from another."""

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(self.training.output_dir)


def find(path: Path) -> Path:
    """A configuration in the working folder, else the one of that name that we ship.

    Raises `InputError` when there is neither, or when it is no YAML mapping.
    """
    if not path.is_file() and (CONFIGS / path).is_file():
        path = CONFIGS / path
    if not path.is_file():
        shipped = ", ".join(sorted(file.name for file in CONFIGS.glob("*.yaml")))
        raise InputError(f"{path}: no such file; shipped: {shipped}")
    read_yaml(path)
    return path


def parse[T](
    path: Path, arguments: Sequence[str], ours: type[T], trainer: str = "SFTConfig"
) -> Settings[T]:
    """The settings of a run from YAML and arguments, which win.

    ``ours`` is the dataclass of our keys; ``trainer`` names TRL's, whose keys and ModelConfig's are
    taken too. How all are given tells `sft.arguments`. On a CPU `arithmetic.FLOAT32`
    wins.

    Raises `InputError` naming an unknown key with its nearest neighbour, or a wrong value.
    """
    import trl

    class Parser(trl.TrlParser):  # type: ignore[misc]
        def keys(self) -> dict[str, Any]:
            """The keys, those that switch one off too, and how many words each takes."""
            actions = self._option_string_actions.items()
            return {name[2:]: action.nargs for name, action in actions if name[:2] == "--"}

        def error(self, message: str) -> None:
            raise InputError(f"{path}: {message}")

    kinds = (getattr(trl, trainer), trl.ModelConfig)
    parser = Parser(list(kinds))
    names = {field.name for field in dataclasses.fields(ours)}  # type: ignore[arg-type]
    theirs = {f.name for kind in kinds for f in dataclasses.fields(kind)}

    def unknown(key: str) -> InputError:
        hint = nearest(key, names | theirs).partition("accepted:")[0]
        return InputError(
            f"{path}: unknown key {key!r}; {hint}accepted: "
            f"{', '.join(sorted(names))} and the fields of TRL's {trainer} and ModelConfig"
        )

    given = read(arguments, names, parser.keys(), unknown)
    values = merge(read_yaml(path), given.overrides)
    for key in values:
        if key not in names | theirs:
            raise unknown(key)
    data = build(ours, {key: values[key] for key in values.keys() & names}, path)
    parser.set_defaults_with_config(**{key: values[key] for key in values.keys() & theirs})
    try:
        words = given.words()
        if arithmetic.on_cpu(parser.parse_known_args(words)[0].use_cpu):
            # The last word counts.
            words += [f"--{key}={value}" for key, value in arithmetic.FLOAT32.items()]
        training, model = parser.parse_args_into_dataclasses(words)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error
    if not model.model_name_or_path:
        raise InputError(f"{path}: key 'model_name_or_path' is missing: the model to start from")
    start = model.model_name_or_path
    # ORG/NAME may be on the hub; anything else is a folder.
    if not Path(start).is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", start):
        raise InputError(f"{start}: no model there; model_name_or_path takes a folder or ORG/NAME")
    return Settings(data, training, model, {"values": values, "arguments": given.options})
