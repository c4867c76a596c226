"""The settings of a run: a YAML file and command-line arguments, checked against both schemas.

The keys of the project (`sft.config`) and of TRL's configurations stand side by side in one file.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft import arithmetic
from tinymathreason.arguments import read, refuse
from tinymathreason.cli import InputError
from tinymathreason.config import build, merge, nearest, parse_overrides, read_yaml

CONFIGS = Path(__file__).parent / "configs"
"""Shipped configurations, searched after the working folder."""


@dataclasses.dataclass(frozen=True)
class Settings[T]:
    """Everything that determines a run."""

    data: T
    """Our keys."""
    training: Any
    """TRL's configuration of the trainer, such as SFTConfig."""
    model: Any
    """TRL's ModelConfig."""
    inputs: dict[str, Any]
    """The values and arguments that the user gave; they identify a run."""

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(self.training.output_dir)


def find(path: Path) -> Path:
    """The path of a configuration: in the working folder, else among the shipped ones.

    Raises `InputError` if there is none, or if it is not a YAML mapping.
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
    """The settings of a run, from a YAML file and the arguments that replace its values.

    ``ours`` is the dataclass of our keys, ``trainer`` the name of TRL's configuration class; keys
    of ModelConfig are accepted too. `tinymathreason.arguments` describes the grammar of
    ``arguments``. On a CPU, `arithmetic.FLOAT32` replaces the values of both; on an accelerator,
    SFT has the defaults of `arithmetic.ACCELERATED`.

    Raises `InputError` naming an unknown key with its nearest neighbour, or a wrong value.
    """
    import trl

    class Parser(trl.TrlParser):  # type: ignore[misc]
        def keys(self) -> dict[str, Any]:
            """The names of all options, and how many words each takes."""
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

    given = read(arguments, parser.keys(), names, unknown)
    refuse(given.positionals)
    values = merge(read_yaml(path), parse_overrides(given.overrides))
    for key in values:
        if key not in names | theirs:
            raise unknown(key)
        _check_json(path, key, values[key])
    data = build(ours, {key: values[key] for key in values.keys() & names}, path)
    parser.set_defaults_with_config(**{key: values[key] for key in values.keys() & theirs})
    try:
        words = given.words()
        if arithmetic.on_cpu(parser.parse_known_args(words)[0].use_cpu):
            # Of repeated options the last one wins.
            words += [f"--{key}={value}" for key, value in arithmetic.FLOAT32.items()]
        elif trainer == "SFTConfig":
            missing = arithmetic.ACCELERATED.keys() - values.keys()
            parser.set_defaults_with_config(**{key: arithmetic.ACCELERATED[key] for key in missing})
        training, model = parser.parse_args_into_dataclasses(words)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error
    if not model.model_name_or_path:
        raise InputError(f"{path}: key 'model_name_or_path' is missing: the model to start from")
    start = model.model_name_or_path
    # ORG/NAME may be on the hub; anything else must be a folder.
    if not Path(start).is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", start):
        raise InputError(f"{start}: no model there; model_name_or_path takes a folder or ORG/NAME")
    return Settings(data, training, model, {"values": values, "arguments": dict(given.options)})


def _check_json(path: Path, key: str, value: Any) -> None:
    """Raise `InputError` for a value that the run's record cannot hold, such as YAML's date."""
    try:
        json.dumps(value)
    except TypeError:
        raise InputError(
            f"{path}: key {key!r}: YAML reads {value!s:.80} as a {type(value).__name__}; "
            "put it in quotes"
        ) from None
