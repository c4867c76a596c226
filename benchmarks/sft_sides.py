"""The two sides of the fine-tuning benchmark, each a function for a process of its own.

Both train from the same weights on the same conversations, with the same ones in every step, so
that their losses can be compared.
"""

import itertools
import json
import resource
import time
from pathlib import Path
from typing import Any

from conversion.architecture import Architecture
from pretrain import overlay
from tinymathreason.files import read_json, write_json

VOCABULARY = 4096
"""Most entries of the tokenizer: few examples yield fewer, and a model may have more rows."""
CONVERSATIONS = 8
"""Conversations of a micro-batch with TRL's defaults."""
HELD_OUT = 200
"""Most held-out conversations on which the loss is computed."""


def make_inputs(home: str, sizes: str, entries: str) -> None:
    """Write a model with random weights and ``entries`` rows, a tokenizer, and our examples.

    ``home`` has our configuration, ours.yaml. Prints counts of the examples.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from data_prep import tokenizer
    from sft.config import SftData
    from sft.examples import read
    from sft.prepare import main
    from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS
    from tinymathreason.config import build
    from tinymathreason.records.examples import ExamplesManifest

    config = Path(home) / "ours.yaml"
    values = read_json(config)
    data = build(SftData, {"sources": values["sources"]}, config)
    texts = (f"{example.question}\n{example.solution}" for example in read(data))
    made = tokenizer.train(texts, VOCABULARY, exactly=False)
    tokenizer.save(made, Path(home) / "model")
    shape = Architecture.from_maxtext({**overlay.load(sizes), "vocab_size": int(entries)})
    torch.manual_seed(0)
    ends = SPECIAL_TOKENS.index(EOS), SPECIAL_TOKENS.index(PAD)
    described = LlamaConfig(**shape.hf_config(*ends, "float32"))
    AutoModelForCausalLM.from_config(described).save_pretrained(Path(home) / "model")
    main(["--config", str(config)])
    counts = ExamplesManifest.load(Path(home) / "data" / "manifest.json").sources.values()
    print(
        json.dumps(
            {
                "examples": sum(entry.kept for entry in counts),
                "tokens": sum(entry.tokens for entry in counts),
                "longest": _longest(Path(home) / "data"),
            }
        )
    )


def _longest(data: Path) -> int:
    """Tokens of the longest prepared conversation."""
    import pyarrow.compute
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(data / f"{s}.parquet") for s in ("train", "eval")]
    lengths = [pyarrow.compute.list_value_length(table["input_ids"]) for table in tables]
    return max(int(pyarrow.compute.max(column).as_py()) for column in lengths)


def ours(home: str, limit: str) -> None:
    """Train with `sft.run`, at most ``limit`` seconds; prints the figures."""
    from sft import session
    from sft.config import SftData
    from sft.run import Sft
    from sft.settings import parse

    class Measured(Sft):
        def make_trainer(self, session: Any, examples: Any) -> Any:
            self.trainer = super().make_trainer(session, examples)
            self.limit = _Limit(float(limit))
            self.trainer.add_callback(self.limit.callback())
            return self.trainer

    algorithm = Measured()
    record = session.train(algorithm, parse(Path(home) / "ours.yaml", [], SftData))
    assert record is not None
    assert record.speed is not None
    trainer = algorithm.trainer
    figures = {
        "attention": trainer.model.config._attn_implementation,
        "rows_of_a_micro_batch": trainer.args.per_device_train_batch_size,
        "steps": record.steps,
        "tokens": record.tokens,
        "stopped": algorithm.limit.reached,
        **record.speed.model_dump(),
        "peak_gb": _peak_gb(trainer.args.device),
    }
    figures["held_out_loss"] = held_out_loss(trainer, Path(home) / "data")
    print(json.dumps(figures))


def write_steps(home: str) -> None:
    """Write the conversations of each of our steps, in order, to ``home``/steps.json."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTTrainer

    from sft import checks, dataset
    from sft.config import SftData
    from sft.settings import parse

    arguments = ["use_cpu=true", "dataloader_num_workers=0"]
    training = parse(Path(home) / "ours.yaml", arguments, SftData).training
    tokenizer = AutoTokenizer.from_pretrained(Path(home) / "model")
    small = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=LlamaForCausalLM(small),
        args=training,
        train_dataset=dataset.load(Path(home) / "data")[0],
        processing_class=tokenizer,
    )
    batches = [
        list(checks.conversations(batch, tokenizer.pad_token_id))
        for batch in trainer.get_train_dataloader()
    ]
    size = training.gradient_accumulation_steps
    steps = [list(itertools.chain(*batches[i : i + size])) for i in range(0, len(batches), size)]
    write_json(Path(home) / "steps.json", steps[: training.max_steps])


def peer(home: str, device: str, learning_rate: str, limit: str) -> None:
    """Train with TRL's defaults on the conversations of our steps; prints the figures.

    A micro-batch has about eight padded conversations, as by default, and a step has as many
    micro-batches as it takes.
    """
    from datasets import Dataset
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from sft.callbacks import Stopwatch
    from sft.speed import CountsLater

    steps = read_json(Path(home) / "steps.json")
    count = max(1, round(sum(map(len, steps)) / len(steps) / CONVERSATIONS))
    rows = [{"input_ids": ids, "labels": labels} for step in steps for ids, labels in step]
    batches, first = [], 0
    for step in steps:
        bounds = [first + len(step) * k // count for k in range(count + 1)]
        batches += [list(range(*pair)) for pair in itertools.pairwise(bounds)]
        first += len(step)

    class Peer(CountsLater, SFTTrainer):  # type: ignore[misc]
        def _send_telemetry(self) -> None:
            pass

        def get_train_dataloader(self) -> Any:
            return DataLoader(
                self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator
            )

    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(Path(home) / "model")
    trainer = Peer(
        model=str(Path(home) / "model"),
        args=SFTConfig(
            output_dir=str(Path(home) / "theirs"),
            max_steps=len(steps),
            per_device_train_batch_size=CONVERSATIONS,
            gradient_accumulation_steps=count,
            learning_rate=float(learning_rate),
            max_length=None,
            include_num_input_tokens_seen="non_padding",
            logging_steps=max(1, len(steps) // 3),
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=device == "cpu",
            bf16=device != "cpu",
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    watch, stop = Stopwatch(trainer, started), _Limit(float(limit))
    trainer.add_callback(watch)
    trainer.add_callback(stop.callback())
    trainer.train()
    figures = {
        "attention": trainer.model.config._attn_implementation,
        "conversations_of_a_micro_batch": CONVERSATIONS,
        "steps": trainer.state.global_step,
        "tokens": trainer.state.num_input_tokens_seen,
        "stopped": stop.reached,
        **watch.speed().model_dump(),
        "peak_gb": _peak_gb(trainer.args.device),
    }
    figures["held_out_loss"] = held_out_loss(trainer, Path(home) / "data")
    print(json.dumps(figures))


class _Limit:
    """Ends a training ``seconds`` after its first steps, which do not count, with a log."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self.reached = seconds, False

    def callback(self) -> Any:
        from transformers import TrainerCallback

        from sft.callbacks import warm_steps

        limit = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                now = time.monotonic()
                if state.global_step <= warm_steps(state.max_steps):
                    self._end = now + limit._seconds
                elif now > self._end and state.global_step < state.max_steps:
                    limit.reached = True
                    control.should_training_stop = control.should_log = True

        return Callback()


def _peak_gb(device: Any) -> float:
    """Most memory so far: of the GPU, as torch holds it, or of this process."""
    import torch

    if device.type == "cpu":
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
    reserved: int = torch.cuda.max_memory_reserved()
    return round(reserved / 1e9, 2)


def held_out_loss(trainer: Any, data: Path) -> float:
    """The mean held-out loss in float32, with one conversation in each row and with sdpa."""
    import torch

    from sft import dataset

    total, count = 0.0, 0
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    model.eval()
    model.set_attn_implementation("sdpa")
    rows = dataset.load(data)[1]
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        for row in rows.select(range(min(HELD_OUT, len(rows)))):
            ids, labels = (
                torch.tensor([row[name]], device=model.device) for name in dataset.COLUMNS
            )
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            targets = labels[:, 1:].flatten()
            total += float(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
            )
            count += int((targets != -100).sum())
    return total / count
