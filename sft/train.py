"""Settings in; a trained model with its tokenizer, template and record out, by TRL's SFTTrainer."""

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft import checkpoints, checks, dataset
from sft.finish import finish
from sft.model import check_vocabulary, load_tokenizer, making, set_stop
from tinymathreason.files import locked
from tinymathreason.provenance import file_hash, model_hash

if TYPE_CHECKING:
    from sft.config import SftData
    from sft.settings import Settings

RECORD = "sft.json"
"""File in the finished model's folder that tells how it was made."""


def train(settings: "Settings[SftData]") -> dict[str, Any]:
    """Train, write ``output_dir/model`` and return its record; an interrupted run continues.

    The folder holds the model with any adapter merged, its tokenizer with the chat template, a
    generation configuration that stops at the end of an answer, the curves, and ``sft.json``. It
    appears when all is written. Of several processes, each calls this and the main one writes.

    Raises `InputError` for what `checks` finds, for a folder that holds another run or in which
    another process is training, and for a full disk, which leaves the last checkpoint whole.
    """
    from sft.callbacks import measured

    started = time.monotonic()
    checks.check_arguments(settings.training, settings.model)
    state = settings.training.distributed_state
    output = settings.output
    with locked(output, "training") if state.is_main_process else contextlib.nullcontext():
        checkpoints.check_owner(output, settings.inputs)
        tokenizer = load_tokenizer(
            settings.model.model_name_or_path,
            settings.data.chat_template,
            settings.model.model_revision,
        )
        trainer = _trainer(settings, tokenizer, state)
        identity: dict[str, Any] = {}
        if state.is_main_process:
            check_trainer(trainer, tokenizer)
            identity = _identity(settings, state.num_processes) | measured(trainer)
        checkpoints.train(trainer, output, settings.inputs | identity, state)
        record = {**identity, **_described(_data(settings)), "seconds": started}
        return finish(trainer, tokenizer, settings.model, output, RECORD, record)


def _trainer(settings: "Settings[SftData]", tokenizer: Any, state: Any) -> Any:
    """TRL's trainer for the settings, with our callbacks; the examples are prepared before."""
    from trl import SFTTrainer, get_peft_config, get_quantization_config

    from sft.callbacks import AccuracyCallback, show_progress
    from sft.prepare import prepare

    class Trainer(checkpoints.WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
        pass

    training, model = settings.training, settings.model
    with state.main_process_first():
        folder = prepare(
            settings.data,
            model.model_name_or_path,
            training.max_length,
            settings.output,
            model.model_revision,
        )
    examples, held_out = dataset.load(folder)
    # Our labels are the mask; TRL's own ways to make one need the texts.
    training.assistant_only_loss = False
    training.completion_only_loss = False
    training.include_num_input_tokens_seen = "non_padding"
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        "use_safetensors": True,
        **(training.model_init_kwargs or {}),
    }
    with making(model.model_name_or_path):
        trainer = Trainer(
            model=model.model_name_or_path,
            args=training,
            train_dataset=examples,
            eval_dataset=held_out,
            processing_class=tokenizer,
            quantization_config=get_quantization_config(model),
            peft_config=get_peft_config(model),
        )
    set_stop(trainer.model, tokenizer)
    show_progress(trainer)
    if settings.data.accuracy is not None:
        problems = dataset.held_out_problems(folder)
        trainer.add_callback(AccuracyCallback(trainer, tokenizer, settings.data.accuracy, problems))
    return trainer


def check_trainer(trainer: Any, tokenizer: Any) -> None:
    """Print one training row by what the loss sees; raise `InputError` for what `checks` finds."""
    unused = check_vocabulary(tokenizer, trainer.model.get_input_embeddings().num_embeddings)
    if unused:
        print(f"{unused} rows of the embedding belong to no token and stay unused")
    rows = checks.rows(trainer.train_dataset)
    found = list(checks.conversations(trainer.data_collator(rows), tokenizer.pad_token_id))
    for ids, labels in found:
        checks.check_conversation(tokenizer, ids, labels)
    if trainer.args.packing:
        checks.check_isolation(trainer)
    colour = sys.stdout.isatty()
    print(f"A training row; the loss sees what is {'green' if colour else 'in [[ ]]'}:")
    print(checks.show(tokenizer, *found[0], colour), flush=True)


def _identity(settings: "Settings[SftData]", processes: int) -> dict[str, Any]:
    """What tells a run from another besides its configuration."""
    start = Path(settings.model.model_name_or_path)
    return {
        "base": model_hash(start) if start.is_dir() else settings.model.model_revision,
        "data": {
            split: file_hash(_data(settings) / f"{split}.parquet") for split in dataset.SPLITS
        },
        "processes": processes,
    }


def _described(data: Path) -> dict[str, Any]:
    """What a record says of the examples."""
    manifest = {"manifest": file_hash(data / dataset.MANIFEST)}
    return {**manifest, "counts": dataset.manifest(data)["sources"]}


def _data(settings: "Settings[SftData]") -> Path:
    return settings.data.data_dir or settings.output / "data"
