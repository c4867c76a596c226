"""Settings in; a trained model with its tokenizer, template and record out, by TRL's SFTTrainer."""

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymathreason import provenance
from tinymathreason.chatml import IM_END, Messages
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, read_json, write_json

if TYPE_CHECKING:
    from trl import SFTTrainer

    from sft.config import Settings
    from sft.data import Examples

MODEL = "model"
"""Name of the finished model's folder under output_dir."""
INPUTS = "inputs.json"
"""File under output_dir that tells whose run it is."""


def load_tokenizer(model: str, template: Path) -> Any:
    """The model's tokenizer with our chat template.

    Raises `InputError` when padding and end-of-text are one token, or when the template does not
    train the token that ends an answer.
    """
    from transformers import AutoTokenizer
    from trl.chat_template_utils import is_chat_template_stop_token_trained

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise InputError(f"{model}: the tokenizer needs a padding token other than end-of-text")
    if not is_chat_template_stop_token_trained(tokenizer):
        raise InputError(
            f"{template}: the loss would not see the token that ends an answer; "
            "put it inside the template's generation block"
        )
    return tokenizer


def last_checkpoint(output: Path) -> Path | None:
    """The newest complete checkpoint of an interrupted run; a half-written one is removed.

    The Trainer writes trainer_state.json last.
    """
    found = sorted(output.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    while found:
        try:
            json.loads((found[-1] / "trainer_state.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            shutil.rmtree(found.pop())
        else:
            return found[-1]
    return None


def check_owner(output: Path, inputs: dict[str, Any]) -> None:
    """Raise `InputError` when ``output`` holds the checkpoints of a run with other inputs."""
    path = output / INPUTS
    if path.is_file() and read_json(path) != inputs:
        raise InputError(
            f"{output} holds a run with another configuration; remove it or set output_dir"
        )


def train(settings: "Settings") -> dict[str, Any]:
    """Train, write ``output_dir/model`` and return its record; an interrupted run continues.

    The folder holds the model, its tokenizer with the chat template, a generation configuration
    that stops at the end of an answer, and ``sft.json``. It appears when all is written.
    """
    from datasets import Dataset
    from trl import SFTTrainer, get_peft_config, get_quantization_config

    from sft.data import load

    started = time.monotonic()
    training, model = settings.training, settings.model
    tokenizer = load_tokenizer(model.model_name_or_path, settings.data.chat_template)

    def count_tokens(conversations: list[Messages]) -> list[int]:
        texts = tokenizer.apply_chat_template(conversations, tokenize=False)
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    examples = load(settings.data, training.max_length, count_tokens)
    training.assistant_only_loss = True
    training.include_num_input_tokens_seen = "non_padding"
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(training.model_init_kwargs or {}),
    }
    trainer = SFTTrainer(
        model=model.model_name_or_path,
        args=training,
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(examples.eval),
        processing_class=tokenizer,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    )
    check_vocabulary(trainer, tokenizer)
    if not (training.packing or training.padding_free):
        check_targets(trainer, tokenizer, examples)
    output = Path(training.output_dir)
    resume = last_checkpoint(output)
    write_json(output / INPUTS, settings.inputs)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    with new_directory(output / MODEL) as folder:
        record = finish(trainer, tokenizer, examples, folder)
        record["seconds"] = round(time.monotonic() - started, 1)
        write_json(folder / "sft.json", record)
    return record


def check_vocabulary(trainer: "SFTTrainer", tokenizer: Any) -> None:
    """Raise `InputError` when the model has fewer embedding rows than the tokenizer entries."""
    rows = trainer.model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise InputError(
            f"the model has {rows} embedding rows, the tokenizer {len(tokenizer)} entries"
        )


def check_targets(trainer: "SFTTrainer", tokenizer: Any, examples: "Examples") -> None:
    """Raise `InputError` unless the loss of real rows sees the answer and its stop token alone."""
    rows = range(min(8, len(examples.train)))
    labels = trainer.data_collator([trainer.train_dataset[i] for i in rows])["labels"]
    for i in rows:
        seen = tokenizer.decode(labels[i][labels[i] != -100], skip_special_tokens=False)
        answer = tokenizer(examples.train[i]["messages"][-1]["content"] + IM_END)["input_ids"]
        answer = tokenizer.decode(answer, skip_special_tokens=False)
        if seen != answer:
            raise InputError(f"the loss would see {seen!r}; it must see {answer!r} and no more")


def finish(
    trainer: "SFTTrainer", tokenizer: Any, examples: "Examples", folder: Path
) -> dict[str, Any]:
    """Write the trained model and its tokenizer into ``folder``; returns the record of the run."""
    from peft import PeftModel

    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    stop = tokenizer.convert_tokens_to_ids(IM_END)
    model.generation_config.eos_token_id = [stop, tokenizer.eos_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "counts": {name: dict(counts) for name, counts in examples.counts.items()},
        "examples": {"train": len(examples.train), "eval": len(examples.eval)},
        "history": trainer.state.log_history,
        "tokens": trainer.state.num_input_tokens_seen,
        "arguments": trainer.args.to_dict(),
        **provenance.record(),
    }
