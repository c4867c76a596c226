"""Command: compare useful tokens per second of our fine-tuning with TRL's defaults, at equal loss.

python -m benchmarks.sft [--data DIR] [--overlay FILE] [--examples N] [--device cuda|cpu]

Both train the same model with random weights on the same examples, in one pass, at the same
learning rate, each in a separate process. Ours is `sft.run` (packed rows, no recomputation); the
other is TRL's SFTTrainer with the defaults of SFTConfig (eight padded conversations per step,
activation checkpointing) and the loss on the assistant's tokens. On a CPU our packed rows are as
short as the longest conversation, and a step has enough rows for eight conversations, so that both
take about the same number of steps. Useful tokens are prompts and answers without padding. The loss
is computed on the held-out examples after the pass, with one conversation in each row, for both.

With ``--data``, the folder of `make realdata`, the examples are GSM8K's training problems and two
related datasets; otherwise the generator's. With ``--device cuda`` it is the 1B model, in bfloat16
with float32 weights and rows of 4,096 tokens, and the line also has MFU and memory.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import pretrain_gpu
from benchmarks.corpus import HOME, Usage, call, measured
from benchmarks.sft_prepare import WHOLE
from conversion.architecture import Architecture
from pretrain import overlay
from pretrain.model import Model
from tinymathreason import cli
from tinymathreason.files import write_json
from tinymathreason.records.tuning import ExamplesManifest, SftRecord

PROXY = Path("maxtext_configs/tinymathreason_20m.yml")
FULL = Path("maxtext_configs/tinymathreason_1b_gpu.yml")
VOCABULARY = 4096
"""Entries of the tokenizer on the CPU; with more, the small model would be mostly embedding."""
CONVERSATIONS = 8
"""Conversations in a step with TRL's defaults."""
LEARNING_RATE = 1e-3


def sources(data: Path | None, examples: int) -> dict[str, Any]:
    """The sets to read, with ``examples`` rows in total."""
    if data is None:
        return {"word_problems": {"format": "arithmetic", "examples": examples}}
    names = {"question": "query", "answer": "response"}
    others = {"question": "instruction", "answer": "output"}
    sets: dict[str, Any] = {
        "MetaMathQA": {"format": "json", "path": str(data / "MetaMathQA" / "*.json"), **names},
        "MathInstruct": {"format": "json", "path": str(data / "MathInstruct" / "*.json"), **others},
        "gsm8k": {"format": "jsonl", "path": str(data / "gsm8k" / "train.jsonl")},
    }
    return {name: {**source, "examples": examples // len(sets)} for name, source in sets.items()}


def make_model(config: str, sizes: str, entries: str, folder: str) -> None:
    """Write a model with random weights and a tokenizer of the sets' own text."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from data_prep import tokenizer
    from sft.config import TuningData
    from sft.examples import read
    from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS
    from tinymathreason.config import build

    questions = build(TuningData, {"sources": json.loads(config)}, "--data")
    texts = (f"{example.question}\n{example.solution}" for example in read(questions))
    made = tokenizer.train(texts, int(entries))
    tokenizer.save(made, Path(folder))
    shape = Architecture.from_maxtext({**overlay.load(sizes), "vocab_size": made.get_vocab_size()})
    torch.manual_seed(0)
    ends = SPECIAL_TOKENS.index(EOS), SPECIAL_TOKENS.index(PAD)
    described = LlamaConfig(**shape.hf_config(*ends, "float32"))
    AutoModelForCausalLM.from_config(described).save_pretrained(folder)


def peer(home: str, device: str) -> None:
    """Train with TRL's defaults; writes the model and prints the seconds."""
    import pyarrow.parquet
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from tinymathreason.chatml import TEMPLATE

    tokenizer = AutoTokenizer.from_pretrained(Path(home) / "model")
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    table = pyarrow.parquet.read_table(Path(home) / "data" / "train.parquet", columns=["messages"])
    trainer = SFTTrainer(
        model=str(Path(home) / "model"),
        args=SFTConfig(
            output_dir=str(Path(home) / "theirs"),
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            assistant_only_loss=True,
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=device == "cpu",
        ),
        train_dataset=Dataset(table),
        processing_class=tokenizer,
    )
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model(str(Path(home) / "theirs" / "model"))
    print(json.dumps({"seconds": seconds, "steps": trainer.state.global_step}))


def longest(data: Path) -> int:
    """Tokens of the longest prepared conversation."""
    import pyarrow.compute
    import pyarrow.parquet

    tables = [pyarrow.parquet.read_table(data / f"{s}.parquet") for s in ("train", "eval")]
    lengths = [pyarrow.compute.list_value_length(table["input_ids"]) for table in tables]
    return max(int(pyarrow.compute.max(column).as_py()) for column in lengths)


def held_out_loss(home: str, model: str) -> None:
    """Print the mean held-out loss, in float32, with one conversation in each row."""
    import torch
    from transformers import AutoModelForCausalLM

    from sft import dataset

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tuned = AutoModelForCausalLM.from_pretrained(model, use_safetensors=True).to(device)
    total, count = 0.0, 0
    with torch.inference_mode():
        for row in dataset.load(Path(home) / "data")[1]:
            ids, labels = (torch.tensor([row[name]], device=device) for name in dataset.COLUMNS)
            targets = int((labels[:, 1:] != -100).sum())
            total += float(tuned(input_ids=ids, labels=labels).loss) * targets
            count += targets
    print(total / count)


def ours(home: Path, data: dict[str, Any], length: int, rows: int, device: str, how: str) -> Path:
    """Write the configuration of our run, ``rows`` of ``length`` tokens per step; its model."""
    config = {
        "model_name_or_path": str(home / "model"),
        "output_dir": str(home / "ours"),
        "data_dir": str(home / "data"),
        "sources": data,
        "eval_fraction": 0.05,
        "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE,
        "packing": True,
        "max_length": length,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": rows,
        "activation_checkpointing": False,
        "attn_implementation": how,
        "bf16": True,
        "use_cpu": device == "cpu",
        "save_strategy": "no",
        "report_to": "none",
    }
    write_json(home / "ours.yaml", config)
    return home / "ours" / "model"


def side(usage: Usage, seconds: float, steps: int, tokens: int, loss: float) -> dict[str, Any]:
    """The figures of one of the two."""
    return {
        "seconds_of_training": round(seconds, 1),
        "steps": steps,
        "useful_tokens_a_second": round(tokens / seconds),
        "held_out_loss": round(loss, 4),
        "peak_gb_of_process": usage.peak_gb,
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, train both and print one line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.sft", description="Compare fine-tuning with TRL's defaults."
    )
    parser.add_argument("--data", type=Path, help="the folder of `make realdata`")
    parser.add_argument(
        "--overlay", type=Path, help="the model's sizes; the default depends on the device"
    )
    parser.add_argument(
        "--examples", type=int, default=600, help="rows to read from all sets together"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--attention", default="sdpa", help="attn_implementation of our side")
    arguments = parser.parse_args(argv)
    if arguments.examples < 300:
        parser.error(f"--examples: must be at least 300 (got {arguments.examples})")
    gpu = arguments.device == "cuda"
    peak = pretrain_gpu.peak_tflops() if gpu else None
    sizes = arguments.overlay or (FULL if gpu else PROXY)
    entries = overlay.load(sizes)["vocab_size"] if gpu else VOCABULARY
    home = (HOME / "sft").absolute()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    data = sources(arguments.data.absolute() if arguments.data else None, arguments.examples)
    here = call("benchmarks.sft", "make_model", json.dumps(data), sizes, entries, home / "model")
    measured(here)
    model = ours(home, data, 4096, 1, arguments.device, arguments.attention)
    config = ["--config", str(home / "ours.yaml")]
    code = f"from sft.{{}} import main; main({config!r})"
    python = call("sft.run", "main")[:2]
    measured([*python, code.format("prepare")])
    counts = ExamplesManifest.load(home / "data" / "manifest.json").sources.values()
    kept = sum(entry.kept for entry in counts)
    mean = sum(entry.tokens for entry in counts) / kept
    if not gpu:
        # On a CPU attention grows with the square of a row, so rows are as short as possible.
        length = max(256, -(-longest(home / "data") // 64) * 64)
        steps = max(1, round(CONVERSATIONS * mean / length))
        model = ours(home, data, length, steps, "cpu", arguments.attention)
    usage, memory = _watched([*python, code.format("run")], gpu)
    record = SftRecord.load(model / "sft.json")
    # Each entry of the log has the time so far.
    logged = [entry.model_dump() for entry in record.history]
    runtime = [entry["train_runtime"] for entry in logged if "train_runtime" in entry][-1]
    their_usage, their_memory = _watched(
        call("benchmarks.sft", "peer", home, arguments.device), gpu
    )
    theirs = json.loads(their_usage.output.splitlines()[-1])
    losses = [
        float(measured(call("benchmarks.sft", "held_out_loss", home, path)).output)
        for path in (model, home / "theirs" / "model")
    ]
    tokens = record.tokens
    line: dict[str, Any] = {
        "benchmark": "sft",
        "device": pretrain_gpu.smi("name") if gpu else "cpu",
        "overlay": str(sizes),
        "examples": kept,
        "useful_tokens": tokens,
        "tokens_an_example": round(mean, 1),
        "ours": side(usage, runtime, record.steps, tokens, losses[0]),
        "peer": "TRL's SFTTrainer with the defaults of SFTConfig",
        "theirs": side(their_usage, theirs["seconds"], theirs["steps"], tokens, losses[1]),
        "ratio": round(theirs["seconds"] / runtime, 2),
        "loss_ratio": round(losses[0] / losses[1], 4),
    }
    if peak is not None:
        shape = Model.from_config(overlay.load(sizes))
        flops = shape.flops_per_token * tokens / runtime
        line |= {
            "mfu": round(flops / 1e12 / peak, 4),
            "peak_gb": memory,
            "peak_gb_theirs": their_memory,
            "examples_a_second": round(kept / runtime, 1),
            f"estimated_hours_of_two_epochs_of_{WHOLE}": round(
                2 * WHOLE * runtime / kept / 3600, 1
            ),
        }
    print(json.dumps(line))
    shutil.rmtree(home)


def _watched(command: list[str], gpu: bool) -> tuple[Usage, float | None]:
    """Run a command; the resources used, and the GPU's memory in GB."""
    if not gpu:
        return measured(command), None
    memory = pretrain_gpu.Memory()
    with memory.watched():
        usage = measured(command)
    return usage, round(memory.peak_gb, 1)


if __name__ == "__main__":
    cli.run(main)
