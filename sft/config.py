"""A YAML file and arguments in; our keys and TRL's, checked, out."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tinymathreason.chatml import TEMPLATE
from tinymathreason.cli import InputError
from tinymathreason.config import build, config, merge, nearest, parse_overrides, read_yaml


@config
class SftSource:
    """One set of questions and worked answers."""

    format: Literal["jsonl", "json", "parquet", "arithmetic"]
    """How the rows are stored; ``arithmetic`` makes them with `data_prep.arithmetic`."""
    path: str | None = None
    """A glob of files; not for ``arithmetic``."""
    question: str = "question"
    """The column that holds the question."""
    answer: str = "answer"
    """The column that holds the worked answer."""
    examples: int | None = None
    """Read this many rows; None reads all. ``arithmetic`` needs it."""

    def __post_init__(self) -> None:
        if (self.format == "arithmetic") != (self.path is None):
            raise ValueError("path is needed, except for format arithmetic, which has none")
        if self.format == "arithmetic" and self.examples is None:
            raise ValueError("the generator is endless: say how many examples it gives")


@config
class SftData:
    """Everything that decides the examples and their form."""

    sources: dict[str, SftSource]
    """Sets to join, by the name their counts will have."""
    chat_template: Path = TEMPLATE
    """Jinja template with a generation block around what the loss sees."""
    eval_fraction: float = 0.01
    """Share of the questions held out for the evaluation loss, chosen by their hash."""
    data_seed: int = 0
    """Seed of the generator and of the choice of held-out questions."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")
        if not 0 <= self.data_seed < 2**64:
            raise ValueError(f"data_seed must be between 0 and 2**64 - 1 (got {self.data_seed})")
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must be between 0 and 1 (got {self.eval_fraction})")
        if not self.chat_template.is_file():
            raise ValueError(f"no template {self.chat_template}; shipped: {TEMPLATE}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a run."""

    data: SftData
    training: Any
    """TRL's SFTConfig."""
    model: Any
    """TRL's ModelConfig."""
    inputs: dict[str, Any]
    """What the user wrote, to tell one run from another."""


def parse(path: Path, arguments: Sequence[str]) -> Settings:
    """The settings of a run from YAML and arguments, which win.

    TRL's keys are given as ``--key value``, ours as ``key=value``.

    Raises `InputError` naming an unknown key with its nearest neighbour, or a wrong value.
    """
    from trl import ModelConfig, SFTConfig, TrlParser

    class Parser(TrlParser):  # type: ignore[misc]
        def error(self, message: str) -> None:
            raise InputError(f"{path}: {message}")

    ours = {field.name for field in dataclasses.fields(SftData)}
    overrides = [word for word in arguments if re.split(r"[.=]", word)[0] in ours]
    values = merge(read_yaml(path), parse_overrides(overrides))
    theirs = {f.name for kind in (SFTConfig, ModelConfig) for f in dataclasses.fields(kind)}
    for key in values.keys() - ours - theirs:
        hint = nearest(key, ours | theirs).partition("accepted:")[0]
        raise InputError(
            f"{path}: unknown key {key!r}; {hint}accepted: "
            f"{', '.join(sorted(ours))} and the fields of TRL's SFTConfig and ModelConfig"
        )
    data = build(SftData, {key: values[key] for key in values.keys() & ours}, path)
    arguments = [argument for argument in arguments if argument not in overrides]
    parser = Parser([SFTConfig, ModelConfig])
    parser.set_defaults_with_config(**{key: values[key] for key in values.keys() & theirs})
    try:
        training, model = parser.parse_args_into_dataclasses(list(arguments))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error
    if not model.model_name_or_path:
        raise InputError(f"{path}: key 'model_name_or_path' is missing: the model to start from")
    start = model.model_name_or_path
    # ORG/NAME may be on the hub; anything else is a folder.
    if not Path(start).is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", start):
        raise InputError(f"{start}: no model there; model_name_or_path takes a folder or ORG/NAME")
    return Settings(data, training, model, {"values": values, "arguments": arguments})
