"""Command: tune a model on pairs of its own right and wrong answers, with TRL's DPOTrainer.

python -m sft.dpo --config sft/configs/NAME.yaml [--learning_rate 1e-6 ...]
"""

import contextlib
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft import command
from sft.config import DpoData
from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.parsing import parse_json

if TYPE_CHECKING:
    from sft.settings import Settings
    from tinymathreason.chat import Chat

RECORD = "dpo.json"
"""File in the finished model's folder that tells how it was made."""


def train(settings: "Settings[DpoData]") -> dict[str, Any]:
    """Train, write ``output_dir/model`` and return its record; an interrupted run continues.

    The folder holds the model with any adapter merged, its tokenizer with the chat template, a
    generation configuration that stops at the end of an answer, the curves, and ``dpo.json``. It
    appears when all is written. Of several processes, each calls this and the main one writes;
    make the pairs first then (`sft.preferences`), since the others would wait for it too long.

    Raises `InputError` for what `check` finds, for a folder that holds another run or in which
    another process is training, and for a full disk, which leaves the last checkpoint whole.
    """
    from sft import checkpoints
    from sft.callbacks import measured
    from sft.finish import finish
    from sft.model import load_tokenizer, tokenizer_hash
    from sft.preferences import MANIFEST, prepare, read_pairs
    from tinymathreason.chat import Chat
    from tinymathreason.files import locked, read_json
    from tinymathreason.provenance import model_hash

    started = time.monotonic()
    data, training, model = settings.data, settings.training, settings.model
    state, output, start = training.distributed_state, settings.output, model.model_name_or_path
    check(data, training, model)
    with locked(output, "training") if state.is_main_process else contextlib.nullcontext():
        checkpoints.check_owner(output, settings.inputs)
        with state.main_process_first():
            folder = prepare(data, start, training.max_length, output)
        tokenizer = load_tokenizer(start, data.chat_template)
        pairs = read_pairs(folder)
        examples = rows(Chat(tokenizer, tokenizer.chat_template), pairs)
        trainer = _trainer(settings, tokenizer, examples)
        identity = {
            "base": model_hash(Path(start)),
            "data": hashlib.sha256(pairs).hexdigest(),
            "tokenizer": tokenizer_hash(tokenizer),
            "processes": state.num_processes,
            **measured(trainer),
        }
        checkpoints.train(trainer, output, settings.inputs | identity, state)
        record = {
            **identity,
            "counts": read_json(folder / MANIFEST)["counts"],
            "seconds": started,
        }
        return finish(trainer, tokenizer, model, output, RECORD, record)


def check(data: DpoData, training: Any, model: Any) -> None:
    """Raise `InputError` for options that break a run, before a sampling that can take hours."""
    from evaluation import tasks

    if data.accuracy is not None:
        assert data.accuracy.task is not None  # checked by `DpoData`
        tasks.load(data.accuracy.task, data.accuracy.data, data.accuracy.problems)
    if training.eval_strategy != "no":
        raise InputError("eval_strategy: there are no rows for it; our key accuracy measures")
    if training.sync_ref_model:
        raise InputError(
            "sync_ref_model: a checkpoint has no reference model, so a resumed run would differ "
            "from an uninterrupted one; leave it out"
        )
    if (model.load_in_4bit or model.load_in_8bit) and not model.use_peft:
        raise InputError("quantised weights cannot be trained; add an adapter: use_peft: true")


def rows(chat: "Chat", pairs: bytes) -> list[dict[str, list[int]]]:
    """What TRL's collator reads of pairs.jsonl: ``prompt_ids``, ``chosen_ids``, ``rejected_ids``.

    Both answers end with the stop token. TRL's own tokenising would put behind it the newline of
    the template, which no model is asked for, and read what looks like a control token as one.
    """
    from sft.preferences import PAIRS
    from sft.sampler import tokens

    found = []
    for number, line in enumerate(pairs.splitlines(), start=1):
        pair = parse_json(line, f"{PAIRS}:{number}")
        question = pair["prompt"][0]["content"]
        prompt, chosen = tokens(chat, question, pair["chosen"][0]["content"])
        rejected = tokens(chat, question, pair["rejected"][0]["content"])[1]
        found.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return found


def _trainer(settings: "Settings[DpoData]", tokenizer: Any, examples: list[Any]) -> Any:
    """TRL's trainer for the settings, with our rows and callbacks."""
    from datasets import Dataset
    from trl import DPOTrainer, get_peft_config, get_quantization_config

    from sft.callbacks import AccuracyCallback, show_progress
    from sft.checkpoints import WholeCheckpoints
    from sft.model import check_vocabulary, making, set_stop

    class Trainer(WholeCheckpoints, DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset  # the rows are token ids

    training, model = settings.training, settings.model
    training.include_num_input_tokens_seen = "non_padding"
    training.model_init_kwargs = {
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        "use_safetensors": True,
        **(training.model_init_kwargs or {}),
    }
    with making(model.model_name_or_path):
        trainer = Trainer(
            model=model.model_name_or_path,
            args=training,
            train_dataset=Dataset.from_list(examples),
            processing_class=tokenizer,
            quantization_config=get_quantization_config(model),
            peft_config=get_peft_config(model),
        )
    check_vocabulary(tokenizer, trainer.model.get_input_embeddings().num_embeddings)
    set_stop(trainer.model, tokenizer)
    show_progress(trainer)
    if settings.data.accuracy is not None:
        trainer.add_callback(AccuracyCallback(trainer, tokenizer, settings.data.accuracy))
    return trainer


def _load() -> command.Trained:
    from sft.preferences import table

    return command.Trained(DpoData, train, table)


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    described = "Tune a model on pairs of its own right and wrong answers, with TRL's DPOTrainer."
    command.run(argv, "sft.dpo", described, "sampling.samples=4", "DPOConfig", _load)


if __name__ == "__main__":
    cli.run(main)
