"""The directory of a training run, local or in a bucket: its checkpoints and its records.

``config.json`` holds the resolved configuration, ``provenance.json`` an entry for every start.
"""

import hashlib
import math
import re
import time
from pathlib import Path
from typing import Any

from etils import epath

from pretrain import mixture
from pretrain.model import Model
from tinymathreason import phases, provenance
from tinymathreason.checkpoints import MAXTEXT_FILES, maxtext_complete
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json
from tinymathreason.records.base import Record
from tinymathreason.records.pretraining import (
    Configuration,
    MixtureHash,
    StartRecord,
    Starts,
    StartWeights,
)

DECISIVE = (
    "base_", "head_dim", "vocab_size", "max_target_length", "decoder_block", "rope_", "scan_layers",
    "learning_rate", "lr_schedule", "warmup", "wsd_", "opt_type", "adam", "gradient_",
    "per_device_batch_size", "grain_train_files", "grain_packing", "data_shuffle_seed",
    "enable_data_shuffling", "init_weights", "dtype", "weight_dtype", "mu_dtype", "z_loss",
    "logits_via_embedding", "normaliz", "mlp_", "dropout_rate", "enable_dropout", "packing",
    "add_bos", "add_eos", "tokenize_train_data", "eod_mask_loss", "reset_attention_mask",
    "trainable_parameters_mask", "skip_step_", "quantization", "final_logits_soft_cap",
    "attn_logits_soft_cap", "grain_worker_count", "load_parameters_path",
)  # fmt: skip
"""Prefixes of the keys that decide the weights. Other keys may change between two starts."""

COUNTED: dict[str, Any] = {
    "model_name": "default",
    "decoder_block": "llama2",
    "global_parameter_scale": 1,
    "num_experts": 1,
    "attention_bias": False,
    "mlp_bias": False,
    "use_qk_norm": False,
    "use_post_attn_norm": False,
    "use_post_ffw_norm": False,
    "trainable_position_size": -1,
    "mlp_activations": ["silu", "linear"],
    "checkpoint_storage_use_ocdbt": True,
    "checkpoint_storage_use_zarr3": True,
}
"""Keys of the models and checkpoint formats whose parameters can be counted."""


class UnreadableError(InputError):
    """The checkpoint is damaged, is being removed, or its bucket does not answer."""


def run_directory(config: dict[str, Any]) -> epath.Path:
    """The folder of a run, local or gs://, that holds everything that is written about it."""
    return epath.Path(config["base_output_directory"]) / config["run_name"]


def last_step(config: dict[str, Any]) -> int:
    """The last step of the run; steps are counted from 0."""
    steps: int = config["steps"]
    return (config["learning_rate_schedule_steps"] if steps < 0 else steps) - 1


def checkpoint(config: dict[str, Any], step: int) -> epath.Path:
    """The folder of the checkpoint of a step."""
    return run_directory(config) / "checkpoints" / str(step)


def checkpoints(config: dict[str, Any]) -> list[int]:
    """The steps with a complete checkpoint, ascending."""
    return [step for step in _steps(config) if _is_complete(checkpoint(config, step))]


def set_aside_incomplete(config: dict[str, Any]) -> None:
    """Rename incomplete local checkpoints, from which MaxText would otherwise restore.

    They come from interrupted copies. A killed training leaves none, because a local save is
    renamed when it is complete. In a bucket MaxText itself checks for completeness.
    """
    if "://" in str(config["base_output_directory"]):
        return
    for step in _steps(config):
        folder = checkpoint(config, step)
        if not _is_complete(folder):
            aside = folder.with_name(f"{step}.incomplete.{time.time_ns()}")
            folder.rename(aside)
            print(f"{folder}: not a complete checkpoint; renamed to {aside.name}")


def _steps(config: dict[str, Any]) -> list[int]:
    folder = run_directory(config) / "checkpoints"
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    except FileNotFoundError:
        return []


def _is_complete(folder: epath.Path) -> bool:
    return maxtext_complete(name for name in MAXTEXT_FILES if (folder / name).exists())


def parameters(config: dict[str, Any]) -> int | None:
    """The number of weights of the configured model; None for a model outside `COUNTED`."""
    if any(config[key] != value for key, value in COUNTED.items()):
        return None
    return Model.from_config(config).parameters


def stored_shapes(step_dir: epath.Path) -> dict[str, tuple[int, ...]]:
    """The full shapes of a checkpoint's weights by path, such as ``decoder.decoder_norm.scale``.

    Raises `UnreadableError` when the checkpoint cannot be read.
    """
    import tensorstore

    items = f"{step_dir}/items/"
    base = items if "://" in items else {"driver": "file", "path": items}
    try:
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        keys = (key.decode() for key in store.list().result())
        weight = re.compile(r"params\.params\.(.+)/zarr\.json").fullmatch
        return {
            match[1]: tuple(parse_json(bytes(store[match[0]]), step_dir)["shape"])
            for match in map(weight, keys)
            if match
        }
    except (ValueError, KeyError) as error:
        raise UnreadableError(f"{step_dir}: not a readable checkpoint: {error}") from error


def check_parameters(config: dict[str, Any], step: int) -> int | None:
    """The number of weights in a checkpoint; None for a model outside `COUNTED`.

    Raises `InputError` when it differs from the configuration's, and `UnreadableError` when the
    checkpoint cannot be read.
    """
    expected = parameters(config)
    if expected is None:
        return None
    shapes = stored_shapes(checkpoint(config, step))
    count = sum(math.prod(shape) for shape in shapes.values())
    if count != expected:
        layers = range(config["base_num_decoder_layers"])
        present = {
            int(match[1]) for path in shapes if (match := re.match(r".*\.layers_(\d+)\.", path))
        }
        missing = ", ".join(str(layer) for layer in layers if present and layer not in present)
        raise InputError(
            f"{checkpoint(config, step)}: the checkpoint has {count:,} parameters, the "
            f"configuration has {expected:,}"
            + (f"; layers without weights: {missing}" if missing else "")
            + "; do not continue this training: weights that are not saved are lost"
        )
    return count


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_resumable(
    config: dict[str, Any], hosts: int | None = None, devices: int | None = None
) -> None:
    """Raise `InputError` when this training must not continue from the directory's checkpoints.

    It must not after a change of a `DECISIVE` key, of the mixture, of the number of ``hosts`` (each
    reads its own share of the data) or of ``devices`` (the batch is multiplied by it). Pass None
    for a number that is not known yet. A directory without a checkpoint may be used by any run.
    """
    directory = run_directory(config)
    if not checkpoints(config):
        return
    changed = []
    if (directory / "config.json").exists():
        before = _load(Configuration, directory / "config.json").maxtext()
        # Without a length of its own, the schedule ends with the run.
        decisive = (*DECISIVE, "steps") if config["learning_rate_schedule_steps"] < 0 else DECISIVE
        changed = [
            f"{key} was {before.get(key)!r}, is {value!r}"
            for key, value in config.items()
            if key.startswith(decisive)
            and key != "base_output_directory"
            and before.get(key) != value
        ]
    for last in starts(config)[-1:]:
        for name, value in (("hosts", hosts), ("devices", devices)):
            if value is not None and value != getattr(last, name):
                changed.append(f"{name} were {getattr(last, name)}, are {value}")
        found = mixture.record(config)
        if _content(found) != _content(last.mixture):
            changed.append(
                f"the mixture {config['grain_train_mixture_config_path']} has other records or "
                "weights"
            )
    if changed:
        raise InputError(
            f"{directory} holds a run with another configuration: {'; '.join(changed)}; "
            "remove it or choose another run_name"
        )


def _content(found: MixtureHash | None) -> str | None:
    return found.content_sha256 if found else None


def starts(config: dict[str, Any]) -> list[StartRecord]:
    """The entries of provenance.json, one for every start of the run, oldest first."""
    path = run_directory(config) / "provenance.json"
    return _load(Starts, path).starts if path.exists() else []


class StartWriter:
    """The record of one start of a run. With several hosts, only one of them writes it."""

    def __init__(
        self,
        config: dict[str, Any],
        hosts: int,
        devices: int,
        device: str,
        weights: StartWeights | None = None,
    ) -> None:
        """Append an entry to provenance.json, and write config.json if it does not exist yet.

        ``end``, ``outcome`` and ``step`` are null until `end`, and stay null after a kill.
        """
        self.config = config
        directory = run_directory(config)
        saved = checkpoints(config)
        if not saved or not (directory / "config.json").exists():
            _write(directory / "config.json", Configuration(**config))
        first = _load(Configuration, directory / "config.json").maxtext()
        tokenizer = Path(config["tokenizer_path"]) / "tokenizer.json"
        began_with = config["load_full_state_path"] or config["load_parameters_path"]
        self.entry = StartRecord(
            provenance=provenance.record(),
            hosts=hosts,
            devices=devices,
            device=device,
            arithmetic=config["dtype"],
            changed={key: value for key, value in config.items() if first.get(key) != value},
            mixture=mixture.record(config),
            tokenizer_sha256=_sha256(tokenizer.read_bytes()) if tokenizer.is_file() else None,
            weights=None if saved else weights,
            earlier=phases.of_checkpoint(str(began_with)),
            resumed_from=saved[-1] if saved else None,
            end=None,
            outcome=None,
            step=None,
        )
        self._before = starts(config)
        self._write()

    def end(self, outcome: str) -> None:
        """Record how the training ended, and the last saved step."""
        saved = checkpoints(self.config)
        step = saved[-1] if saved else None
        ended = {"end": provenance.now(), "outcome": outcome, "step": step}
        self.entry = self.entry.model_copy(update=ended)
        self._write()

    def _write(self) -> None:
        path = run_directory(self.config) / "provenance.json"
        _write(path, Starts(starts=[*self._before, self.entry]))


def _load[R: Record](model: type[R], path: epath.Path) -> R:
    return model.parse(path.read_bytes(), path)


def _write(path: epath.Path, record: Record) -> None:
    if "://" in str(path):
        # Objects in a bucket appear only when they are complete.
        path.write_text(record.text(), encoding="utf-8")
    else:
        record.write(str(path))
