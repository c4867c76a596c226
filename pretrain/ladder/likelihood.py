"""Command: measure what a model finds likely: held-out documents by source, and gold solutions.

python -m pretrain.ladder.likelihood --model DIR --mixture DIR --output FILE.json
    [--held-out-tokens N] [--task NAME:PROBLEMS[:DATA] ...]

Likelihoods move long before an accuracy does: Magnusson et al. 2025, https://arxiv.org/abs/2504.11393.
"""

import argparse
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pretrain.ladder.config import TASKS
from tinymathreason import arithmetic, cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.records.ladder_point import HeldOut, Likelihood, SolutionLikelihood
from tinymathreason.records.mixture import Mixture

BATCH_TOKENS = 16_384
"""Tokens of a batch, padding included."""
ANNOTATION = re.compile(r"<<[^<>]*>>")
"""A calculator annotation of GSM8K's solutions, which no answer of a model has."""


def gold(task: str, data: str | None, count: int) -> list[tuple[str, str]]:
    """The first ``count`` problems of a task: a prompt in plain form, and the gold solution.

    Raises `InputError` for an unknown task, and for data that is missing or of another schema.
    """
    if task == "arithmetic":
        made = itertools.islice(arithmetic.problems(0, held_out=True), count)
        pairs = [(problem.question, problem.solution) for problem in made]
    elif task in TASKS:
        from evaluation import catalogue

        benchmark = catalogue.load(task, "chat", data, 0, None)[0]
        rows = list(itertools.islice(benchmark.test_docs(), count))
        pairs = [
            (row["question"], ANNOTATION.sub("", row["answer"]))
            if task == "gsm8k"
            else (row["problem"], row["solution"])
            for row in rows
        ]
    else:
        raise InputError(f"task: unknown {task!r}; {nearest(task, TASKS)}")
    return [(arithmetic.plain_problem(question, ""), f" {text}") for question, text in pairs]


def solutions(lm: Any, task: str, pairs: Sequence[tuple[str, str]]) -> SolutionLikelihood:
    """The likelihood of a task's solutions under lm-eval's model ``lm``, given their prompts.

    Problems that do not fit the model's context whole are left out and counted; `InputError` when
    none fits.
    """
    from lm_eval.api.instance import Instance

    fitting = [pair for pair in pairs if len(lm.tok_encode("".join(pair))) <= lm.max_length]
    if not fitting:
        raise InputError(f"{task}: no problem fits a context of {lm.max_length} tokens")
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(fitting)]
    scores = lm.loglikelihood(requests, disable_tqdm=True)
    size = sum(len(text.encode("utf-8")) for _, text in fitting)
    return SolutionLikelihood(
        bits_per_byte=-sum(score for score, _ in scores) / math.log(2) / size,
        problems=len(fitting),
        bytes=size,
        left_out=len(pairs) - len(fitting),
    )


def held_out(lm: Any, documents: Sequence[Sequence[int]]) -> HeldOut:
    """The loss on token ids of documents; a longer one than the context is read in parts.

    Documents, and parts, do not see one another, as in training.
    """
    import torch

    parts = [
        part
        for ids in documents
        for start in range(0, len(ids), lm.max_length)
        if len(part := ids[start : start + lm.max_length]) > 1
    ]
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in _batches(sorted(parts, key=len)):
            width = len(batch[-1])
            ids = torch.zeros(len(batch), width, dtype=torch.long)
            mask = torch.zeros(len(batch), width, dtype=torch.bool)
            for row, part in enumerate(batch):
                ids[row, : len(part)] = torch.tensor(part)
                mask[row, : len(part)] = True
            ids, mask = ids.to(lm.device), mask.to(lm.device)
            logits = lm.model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
            losses = torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), ids[:, 1:], reduction="none"
            )
            seen = mask[:, 1:]
            total += float(losses[seen].double().sum())
            count += int(seen.sum())
    size = sum(len(lm.tokenizer.decode(ids).encode("utf-8")) for ids in documents)
    return HeldOut(nats_per_token=total / count, tokens=count, bytes=size)


def _batches(parts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Parts sorted by length in batches of at most `BATCH_TOKENS`, padding included."""
    batch: list[Sequence[int]] = []
    for part in parts:
        if batch and len(part) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def documents(mixture: Path, source: str, tokens: int) -> list[list[int]]:
    """The first held-out documents of a source, of at most about so many ``tokens`` together.

    The token that ends a document is its last one. Raises `InputError` for a source without any.
    """
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    from data_prep.stages.records import decode

    files = sorted(map(str, (mixture / source).glob("eval-*")))
    found: list[list[int]] = []
    if files:
        with ArrayRecordDataSource(files) as records:
            left = tokens
            for number in range(len(records)):
                if left <= 0:
                    break
                found.append(decode(records[number]).tolist()[:left])
                left -= len(found[-1])
    if not any(len(ids) > 1 for ids in found):
        raise InputError(f"{mixture / source}: no held-out document; raise eval_fraction")
    return found


def measure(
    model: Path, mixture: Path, tokens: int, tasks: dict[str, tuple[int, str | None]]
) -> Likelihood:
    """What ``model`` finds likely; ``tasks`` has the number of problems and the data by name.

    Raises `InputError` for a model, a mixture or data that is missing or malformed.
    """
    from evaluation.model import check_folder, open_lm

    sources = Mixture.load(mixture / "manifest.json").sources
    read = {name: documents(mixture, name, tokens) for name in sources}
    pairs = {name: gold(name, data, count) for name, (count, data) in tasks.items()}
    check_folder(model)
    lm = open_lm(model, "transformers", 64)
    return Likelihood(
        model=str(model),
        model_sha256=provenance.model_hash(model),
        sources={name: held_out(lm, ids) for name, ids in read.items()},
        tasks={name: solutions(lm, name, wanted) for name, wanted in pairs.items()},
        provenance=provenance.record(),
    )


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure, and write the record."""
    parser = argparse.ArgumentParser(
        prog="pretrain.ladder.likelihood",
        description="Measure what a model finds likely: held-out documents and gold solutions.",
    )
    parser.add_argument("--model", type=Path, required=True, help="its folder")
    parser.add_argument("--mixture", type=Path, required=True, help="folder of a built mixture")
    parser.add_argument("--held-out-tokens", type=int, default=100_000, help="of each source")
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME:PROBLEMS[:DATA]", help="gold solutions"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    tasks = {}
    for text in arguments.task:
        name, _, rest = text.partition(":")
        count, _, data = rest.partition(":")
        if not count.isdigit() or int(count) < 1:
            raise InputError(f"--task {text!r}: expected NAME:PROBLEMS or NAME:PROBLEMS:DATA")
        tasks[name] = (int(count), data or None)
    record = measure(arguments.model, arguments.mixture, arguments.held_out_tokens, tasks)
    record.write(arguments.output)
    for name, source in record.sources.items():
        print(f"{name}: {source.nats_per_token:.4f} nats a token, {source.tokens:,} tokens")
    for name, task in record.tasks.items():
        print(f"{name}: {task.bits_per_byte:.4f} bits a byte, {task.problems} solutions")


if __name__ == "__main__":
    cli.run(main)
