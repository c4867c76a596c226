"""The weights that a training begins with, other than random ones: `load_parameters_path`.

They are an open model's that `conversion.to_maxtext` wrote, or those of an earlier training here.
"""

import hashlib
import json
import math
from typing import Any

from etils import epath

from pretrain import run
from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json
from tinymathreason.records.conversion import OpenModel
from tinymathreason.records.pretraining import StartWeights

KEY = "load_parameters_path"
"""MaxText's key for them."""
DEFINING = ("model", "normalizer", "pre_tokenizer", "added_tokens")
"""Parts of tokenizer.json that decide the ids of a text; the others decide what is around it."""


def check(config: dict[str, Any]) -> None:
    """Raise `InputError` unless the weights are there, fit the configuration and the tokenizer."""
    if not config[KEY]:
        return
    step_dir = _step_dir(config)
    try:
        shapes = run.stored_shapes(step_dir)
    except InputError as error:
        raise InputError(f"{KEY}: {error}") from error
    if not shapes:
        raise InputError(
            f"{KEY}: no weights in {step_dir / 'items'}; conversion.to_maxtext writes them"
        )
    model = _open_model(step_dir)
    for key, value in model.maxtext.items() if model else ():
        if _counts(key, config) and not _same(config[key], value):
            raise InputError(
                f"{key}: is {config[key]!r}, but {value!r} in the model of {KEY}; its keys are in "
                f"{step_dir / 'overlay.yml'}, for base_config"
            )
    is_scanned = not any(path.startswith("decoder.layers_") for path in shapes)
    if config["scan_layers"] != is_scanned:
        raise InputError(
            f"scan_layers: is {config['scan_layers']}, but the weights of {KEY} are stored for "
            f"{is_scanned}; convert them again with the other --scan-layers"
        )
    count, expected = sum(math.prod(shape) for shape in shapes.values()), run.parameters(config)
    if expected is not None and count != expected:
        raise InputError(
            f"{KEY}: {step_dir} has {count:,} parameters, the configuration has {expected:,}"
        )
    _check_tokenizer(config, step_dir)


def _counts(key: str, config: dict[str, Any]) -> bool:
    """Whether a key of the open model's decides what its weights compute, beside ``config``'s.

    Rows may be shorter or longer than the model was made for.
    """
    if key == "rope_use_scale":
        return str(config["rope_type"]).startswith("llama3")
    if key == "normalize_embedding_logits":
        return bool(config["logits_via_embedding"])
    return key != "max_target_length"


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; numbers up to the rounding of a float32 that was written."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def record(config: dict[str, Any]) -> StartWeights | None:
    """What the training begins with, for its record; None for random weights."""
    if not config[KEY]:
        return None
    step_dir = _step_dir(config)
    model = _open_model(step_dir)
    return StartWeights(
        path=str(config[KEY]),
        checkpoint_sha256=_sha256((step_dir / "items" / "_METADATA").read_bytes()),
        model=model.name if model else None,
        model_folder=model.folder if model else None,
        model_sha256=model.model_sha256 if model else None,
    )


def _step_dir(config: dict[str, Any]) -> epath.Path:
    """The folder of the step; MaxText accepts it, too, but its documentation names ``items``."""
    return epath.Path(str(config[KEY]).rstrip("/").removesuffix("/items"))


def _open_model(step_dir: epath.Path) -> OpenModel | None:
    """The record of the open model; None for weights of a training."""
    path = step_dir / OpenModel.file
    return OpenModel.parse(path.read_bytes(), path) if path.exists() else None


def _check_tokenizer(config: dict[str, Any], step_dir: epath.Path) -> None:
    """Raise `InputError` when the mixture's tokenizer is not that of the open model.

    A model without a tokenizer beside its weights is not checked.
    """
    ours = epath.Path(config["tokenizer_path"])
    for name, identity in ((vocabulary.FAST, _identity), (vocabulary.PIECES, _sha256)):
        own, theirs = ours / name, step_dir / "tokenizer" / name
        if own.exists() and theirs.exists():
            if identity(own.read_bytes()) != identity(theirs.read_bytes()):
                raise InputError(
                    f"tokenizer_path: {own} gives other ids than {theirs}, the tokenizer of the "
                    f"model in {KEY}; build the mixture with tokenizer: {{path: {theirs.parent}}}"
                )
            return


def _identity(content: bytes) -> str:
    """SHA-256 of what decides the ids of a text in a tokenizer.json.

    The same tokenizer, saved by another version, differs in the form of its merges.
    """
    value = parse_json(content, vocabulary.FAST)
    parts = {key: value.get(key) for key in DEFINING}
    merges = parts["model"].get("merges") or []
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]
    parts["model"] = {"type": parts["model"].get("type"), "vocab": parts["model"]["vocab"]}
    return _sha256(json.dumps([parts, pairs], sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
