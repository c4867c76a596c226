"""The end of a run: the folder ``model`` with the trained model, its curves and its record."""

import contextlib
import time
from pathlib import Path
from typing import Any

from sft import arithmetic
from sft.checkpoints import MODEL, writing
from sft.curves import draw
from sft.model import save
from tinymathreason import provenance
from tinymathreason.files import new_directory
from tinymathreason.records.tuning import LogEntry, TrainerArguments, Tuned

ADAPTER = "adapter"
"""Folder with the adapter by itself, if it is kept."""


def finish[R: Tuned](
    trainer: Any,
    tokenizer: Any,
    model: Any,
    output: Path,
    kind: type[R],
    fields: dict[str, Any],
    started: float,
    keep_adapter: bool = False,
) -> R | None:
    """Write the finished model, its tokenizer, curves and record; returns the record.

    ``model`` is TRL's ModelConfig, ``kind`` the class of the record, and ``fields`` are its fields
    about the start of the run, which was at the monotonic time ``started``. With ``keep_adapter``
    an adapter is also written by itself. Every process calls this; all but the main one get None.
    Raises `InputError` when the disk is full.
    """
    quantised = model.load_in_4bit or model.load_in_8bit
    base = {
        "pretrained_model_name_or_path": model.model_name_or_path,
        "revision": model.model_revision,
        "dtype": "auto" if quantised else trainer.model.dtype,
        "use_safetensors": True,
    }
    target = output / MODEL
    if not trainer.is_world_process_zero():
        save(trainer, tokenizer, base, target)
        return None
    with contextlib.ExitStack() as folders:
        folders.enter_context(writing(target))
        folder = folders.enter_context(new_directory(target))
        adapter = None
        if keep_adapter and model.use_peft:
            # Finished before the model, which says that the run is.
            adapter = folders.enter_context(new_directory(output / ADAPTER, replace=True))
        save(trainer, tokenizer, base, folder, adapter)
        draw(trainer.state.log_history, folder / "curves.png")
        numbers: dict[str, Any] = dict(arithmetic.describe(trainer.args, model))
        record = kind(
            **fields,
            **numbers,
            model_name_or_path=model.model_name_or_path,
            model_sha256=provenance.model_hash(folder),
            history=[LogEntry(**entry) for entry in trainer.state.log_history],
            tokens=trainer.state.num_input_tokens_seen,
            steps=trainer.state.global_step,
            arguments=TrainerArguments(**trainer.args.to_dict()),
            seconds=round(time.monotonic() - started, 1),
            speed=trainer.stopwatch.speed(),
            provenance=provenance.record(),
        )
        record.write(folder / f"{record.kind}.json")
    return record
