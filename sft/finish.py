"""The end of a run: the folder ``model`` with the trained model, its curves and its record."""

import time
from pathlib import Path
from typing import Any

from sft import arithmetic
from sft.checkpoints import MODEL, writing
from sft.curves import draw
from sft.model import save
from tinymathreason import provenance
from tinymathreason.files import new_directory, write_json


def finish(
    trainer: Any,
    tokenizer: Any,
    model: Any,
    output: Path,
    name: str,
    record: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    """Write the finished model, its tokenizer, curves and record ``name``; returns the record.

    ``model`` is TRL's ModelConfig; ``record`` is what the run says of its data; ``started`` is the
    monotonic time of its start. Every process calls this; for all but the main one the returned
    record is empty. Raises `InputError` when the disk is full.
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
        return {}
    with writing(target), new_directory(target) as folder:
        save(trainer, tokenizer, base, folder)
        draw(trainer.state.log_history, folder / "curves.png")
        whole = {
            **record,
            "model_name_or_path": model.model_name_or_path,
            "model_sha256": provenance.model_hash(folder),
            "history": trainer.state.log_history,
            "tokens": trainer.state.num_input_tokens_seen,
            "steps": trainer.state.global_step,
            "arguments": trainer.args.to_dict(),
            **arithmetic.describe(trainer.args, model),
            "seconds": round(time.monotonic() - started, 1),
            **provenance.record().model_dump(),
        }
        write_json(folder / name, whole)
    return whole
