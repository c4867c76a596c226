"""Command: fine-tune a model on chat examples with TRL's SFTTrainer.

python -m sft.run --config sft/configs/NAME.yaml [--learning_rate 1e-5 ...]
"""

import argparse
import dataclasses
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.config import build, merge, nearest, parse_overrides, read_yaml
from tinymathreason.files import new_directory, write_json

if TYPE_CHECKING:
    from trl import SFTTrainer

    from sft.config import SftData
    from sft.data import Examples

CONFIGS = Path(__file__).parent / "configs"
MODEL = "model"
"""Name of the finished model's folder under output_dir."""


def parse(config: Path, arguments: Sequence[str]) -> tuple["SftData", Any, Any]:
    """Our `SftData` and TRL's SFTConfig and ModelConfig, from YAML and arguments, which win.

    TRL's keys are given as ``--key value``, ours as ``key=value``.

    Raises `InputError` naming an unknown key with its nearest neighbour, or a wrong value.
    """
    from trl import ModelConfig, SFTConfig, TrlParser

    from sft.config import SftData

    class Parser(TrlParser):  # type: ignore[misc]
        def error(self, message: str) -> None:
            raise InputError(f"{config}: {message}")

    ours = {field.name for field in dataclasses.fields(SftData)}
    overrides = [word for word in arguments if re.split(r"[.=]", word)[0] in ours]
    values = merge(read_yaml(config), parse_overrides(overrides))
    theirs = {f.name for kind in (SFTConfig, ModelConfig) for f in dataclasses.fields(kind)}
    for key in values.keys() - ours - theirs:
        hint = nearest(key, ours | theirs).partition("accepted:")[0]
        raise InputError(
            f"{config}: unknown key {key!r}; {hint}accepted: "
            f"{', '.join(sorted(ours))} and the fields of TRL's SFTConfig and ModelConfig"
        )
    data = build(SftData, {key: values[key] for key in values.keys() & ours}, config)
    arguments = [argument for argument in arguments if argument not in overrides]
    parser = Parser([SFTConfig, ModelConfig])
    parser.set_defaults_with_config(**{key: values[key] for key in values.keys() & theirs})
    try:
        training, model = parser.parse_args_into_dataclasses(list(arguments))
    except (ValueError, TypeError) as error:
        raise InputError(f"{config}: {error}") from error
    if not model.model_name_or_path:
        raise InputError(f"{config}: key 'model_name_or_path' is missing: the model to start from")
    path = model.model_name_or_path
    # ORG/NAME may be on the hub; anything else is a folder.
    if not Path(path).is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path):
        raise InputError(f"{path}: no model there; model_name_or_path takes a folder or ORG/NAME")
    return data, training, model


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


def train(data: "SftData", training: Any, model: Any) -> dict[str, Any]:
    """Train, write ``output_dir/model`` and return its record; an interrupted run continues.

    The folder holds the model, its tokenizer with the chat template, a generation configuration
    that stops at the end of an answer, and ``sft.json``. It appears when all is written.
    """
    from datasets import Dataset
    from trl import SFTTrainer, get_peft_config

    from sft.data import load

    started = time.monotonic()
    output = Path(training.output_dir)
    examples = load(data)
    tokenizer = load_tokenizer(model.model_name_or_path, data.chat_template)
    training.assistant_only_loss = True
    training.model_init_kwargs = {"dtype": model.dtype, **(training.model_init_kwargs or {})}
    if model.attn_implementation:
        training.model_init_kwargs["attn_implementation"] = model.attn_implementation
    trainer = SFTTrainer(
        model=model.model_name_or_path,
        args=training,
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(examples.eval),
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
    )
    check_vocabulary(trainer, tokenizer)
    resume = last_checkpoint(output)
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


def finish(
    trainer: "SFTTrainer", tokenizer: Any, examples: "Examples", folder: Path
) -> dict[str, Any]:
    """Write the trained model and its tokenizer into ``folder``; returns the record of the run."""
    from tinymathreason.chatml import IM_END

    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
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


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        prog="sft.run",
        description="Fine-tune a model on chat examples with TRL's SFTTrainer.",
        epilog="Any field of TRL's SFTConfig or ModelConfig can follow as --field value, and one "
        "of ours as field=value, such as sources.gsm8k.path=FILE.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file; sft/configs has some"
    )
    arguments, rest = parser.parse_known_args(argv)
    config = arguments.config
    if not config.is_file() and (CONFIGS / config).is_file():
        config = CONFIGS / config
    read_yaml(config)  # a missing file is told before the slow imports
    data, training, model = parse(config, rest)
    final = Path(training.output_dir) / MODEL
    if final.exists():
        print(f"{final} was already complete")
        return
    record = train(data, training, model)
    for name, counts in record["counts"].items():
        print(f"{name}: {', '.join(f'{count:,} {what}' for what, count in counts.items())}")
    print(f"{final} written")


if __name__ == "__main__":
    cli.run(main)
