"""The end of a run: the folder ``model`` with the trained model, its curves and its record."""

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


def finish[R: Tuned](
    trainer: Any,
    tokenizer: Any,
    model: Any,
    output: Path,
    kind: type[R],
    fields: dict[str, Any],
    started: float,
) -> R | None:
    """Write the finished model, its tokenizer, curves and record; returns the record.

    ``model`` is TRL's ModelConfig, ``kind`` the class of the record, and ``fields`` are its fields
    about the start of the run, which was at the monotonic time ``started``. Every process calls
    this; all but the main one get None. Raises `InputError` when the disk is full.
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
    with writing(target), new_directory(target) as folder:
        save(trainer, tokenizer, base, folder)
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
