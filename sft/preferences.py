"""Command: sample a tuned model's answers, and pair right with wrong ones of the same problem.

python -m sft.preferences --config sft/configs/dpo.yaml [--sampling.samples 4 ...]
"""

import dataclasses
import hashlib
import itertools
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from sft import command
from sft.sampler import Sample, Sampler, batch_size
from sft.settings import parse
from tinymathreason import cli, provenance
from tinymathreason.answers import read_final, same_number
from tinymathreason.chatml import conversation
from tinymathreason.cli import InputError
from tinymathreason.control_tokens import control_ids
from tinymathreason.files import locked, new_directory, read_json, write_json
from tinymathreason.records.base import check_replaceable
from tinymathreason.records.tuning import PreferenceCounts, Preferences, SamplingInputs
from tinymathreason.writes import check_room

if TYPE_CHECKING:
    from sft.config import DpoData, Sampling
    from tinymathreason.chat import Chat

MANIFEST = "manifest.json"
"""File with counts, inputs and provenance."""
PAIRS = "pairs.jsonl"
"""File in TRL's conversational preference format: ``prompt``, ``chosen``, ``rejected``."""
SAMPLES = "samples.jsonl"
"""File with every problem, its right answer and all sampled answers."""


@dataclass(frozen=True, slots=True)
class SampledProblem:
    """A problem, its right number, and its samples."""

    question: str
    answer: str
    samples: list[Sample]

    def is_correct(self, sample: Sample) -> bool:
        """Whether the first final line has the right number, as in strict evaluation."""
        return same_number(read_final(sample.text), self.answer)

    def pairs(self, most: int) -> tuple[list[tuple[str, str]], Counter[str]]:
        """At most ``most`` pairs of a right and a wrong text, and counts of the samples.

        Equal texts are used once, and no text is in two pairs while another is in none. Among the
        counts, ``correct`` + ``incorrect`` is the number of samples, and so is ``usable`` +
        ``repeated`` + the flaws.
        """
        counts: Counter[str] = Counter()
        right: list[str] = []
        wrong: list[str] = []
        for sample in self.samples:
            correct = self.is_correct(sample)
            texts = right if correct else wrong
            state = sample.flaw or ("repeated" if sample.text in texts else "usable")
            counts.update(("correct" if correct else "incorrect", state))
            if state == "usable":
                texts.append(sample.text)
        number = min(most, max(len(right), len(wrong))) if right and wrong else 0
        return [(right[i % len(right)], wrong[i % len(wrong)]) for i in range(number)], counts


def prepare(
    data: "DpoData", model: str, max_length: int | None, output: Path, revision: str = "main"
) -> Path:
    """The folder of the pairs, which are sampled again when it is missing or stale.

    The folder is ``pairs_dir``, or ``pairs`` under ``output``. A problem is left out if its answer
    is not a number, or if the prompt and the longest completion together exceed ``max_length``
    tokens (``too_long``), because a trainer would cut the end of its answers. After an interruption
    the next call continues and ends with the same pairs.

    Raises `InputError` for unreadable input, and when there is no pair.
    """
    from sft.model import load_tokenizer, local_folder, tokenizer_hash
    from sft.problems import load
    from tinymathreason.chat import Chat
    from tinymathreason.latex import plain_number
    from tinymathreason.provenance import asking_hash, file_hash, model_hash

    start = local_folder(model, revision)
    tokenizer = load_tokenizer(str(start), data.chat_template)
    chat = Chat(tokenizer, tokenizer.chat_template)
    folder = data.pairs_dir or output / "pairs"
    check_replaceable(folder, MANIFEST, Preferences, (PAIRS, SAMPLES))
    problems, sources = load(data, control_ids(tokenizer))
    prompts = chat.encode([conversation(problem.question) for problem in problems], True)
    left_out: Counter[str] = Counter()
    selected = []
    # Longest first: batches have little padding, and if memory is short, it is so in the first one.
    for i in sorted(range(len(problems)), key=lambda i: -len(prompts[i].ids)):
        number = plain_number(problems[i].answer)
        if number is None:
            left_out["no_number"] += 1
        elif max_length and len(prompts[i].ids) + data.sampling.max_new_tokens > max_length:
            left_out["too_long"] += 1
        else:
            selected.append((problems[i].question, number))
    longest = max(len(prompt.ids) for prompt in prompts)
    size = batch_size(start, data.sampling, longest)
    sampling = dataclasses.asdict(data.sampling) | {"batch_size": size}
    del sampling["cache"]  # decides only the speed
    inputs = SamplingInputs(
        problems=hashlib.sha256(json.dumps(selected).encode()).hexdigest(),
        tokenizer=tokenizer_hash(tokenizer),
        model=model_hash(start),
        asking=asking_hash(start),  # determines the tokens that end an answer
        sampling=sampling,
    )
    sampled = inputs.model_dump()
    work = folder.with_name(f"{folder.name}.sampling")

    def is_fresh() -> bool:
        if not folder.exists():
            return False
        before = Preferences.load(folder / MANIFEST)
        return before.inputs == inputs and before.pairs_per_problem == data.pairs_per_problem

    if is_fresh() and not work.exists():
        return folder
    check_room(folder)
    with locked(work, "sampling"):
        if not is_fresh():
            if not (work / MANIFEST).is_file() or read_json(work / MANIFEST) != sampled:
                for path in work.iterdir():
                    path.unlink()
                write_json(work / MANIFEST, sampled)
            answered = list(_sample(work, selected, start, chat, data.sampling, size))
            with new_directory(folder, replace=True) as aside:
                counts = _write(aside, answered, data.pairs_per_problem)
                counts["left_out"] = left_out
                Preferences(
                    counts=PreferenceCounts(**{name: dict(c) for name, c in counts.items()}),
                    sources={name: dict(entry) for name, entry in sources.items()},
                    inputs=inputs,
                    pairs_per_problem=data.pairs_per_problem,
                    model=model,
                    pairs_sha256=file_hash(aside / PAIRS),
                    provenance=provenance.record(),
                ).write(aside / MANIFEST)
        shutil.rmtree(work)
    return folder


def read_pairs(folder: Path) -> bytes:
    """The content of pairs.jsonl; raises `InputError` if it is damaged."""
    pairs = (folder / PAIRS).read_bytes()
    if hashlib.sha256(pairs).hexdigest() != Preferences.load(folder / MANIFEST).pairs_sha256:
        raise InputError(f"{folder / PAIRS} is damaged; remove {folder} to make the pairs again")
    return pairs


def _sample(
    work: Path,
    problems: list[tuple[str, str]],
    model: Path,
    chat: "Chat",
    sampling: "Sampling",
    batch_size: int,
) -> Iterator[SampledProblem]:
    """All problems with their samples; finished batches are stored in ``work``."""
    from tqdm import tqdm

    sampler = None
    correct = done = 0
    with tqdm(total=len(problems), desc="sampled", unit=" problems") as progress:
        together = max(1, batch_size // sampling.samples)
        for number, batch in enumerate(itertools.batched(problems, together)):
            path = work / f"{number:06}.json"
            if not path.is_file():
                sampler = sampler or Sampler(model, chat, sampling)
                # A seed for each batch: its samples do not depend on the batches before it.
                seed = random.Random(f"{sampling.seed}/{number}").getrandbits(63)
                samples_of = sampler([question for question, _ in batch], seed)
                write_json(path, [[(s.text, s.flaw) for s in row] for row in samples_of])
            for (question, answer), samples in zip(batch, read_json(path), strict=True):
                answered = SampledProblem(question, answer, [Sample(*sample) for sample in samples])
                correct += sum(map(answered.is_correct, answered.samples))
                done += len(samples)
                yield answered
            progress.update(len(batch))
            progress.set_postfix_str(f"{correct / done:.1%} right")


def _write(folder: Path, problems: list[SampledProblem], most: int) -> dict[str, Counter[str]]:
    """Write the samples and the pairs; returns counts of problems, samples and pairs.

    A problem is ``paired``, ``all_correct``, ``all_wrong``, or ``unpaired`` because of flaws.
    """
    counts = {name: Counter[str]() for name in ("problems", "samples", "pairs")}
    with (
        (folder / PAIRS).open("w", encoding="utf-8") as rows,
        (folder / SAMPLES).open("w", encoding="utf-8") as lines,
    ):
        for answered in problems:
            pairs, states = answered.pairs(most)
            whole = {states["correct"]: "all_wrong", states["incorrect"]: "all_correct"}
            counts["problems"]["paired" if pairs else whole.get(0, "unpaired")] += 1
            counts["samples"] += states
            lines.write(json.dumps(dataclasses.asdict(answered)) + "\n")
            for chosen, rejected in pairs:
                prompt, right = conversation(answered.question, chosen)
                row = {"prompt": [prompt], "chosen": [right]}
                row["rejected"] = conversation(answered.question, rejected)[1:]
                rows.write(json.dumps(row) + "\n")
                counts["pairs"]["written"] += 1
    if not counts["pairs"]:
        raise InputError(
            f"sources: no problem has a right and a wrong answer ({_words(counts['problems'])}); "
            "use harder or easier ones, or raise sampling.samples or sampling.temperature"
        )
    return counts


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "none"


def summary(counts: PreferenceCounts) -> str:
    """A table for a user: counts of problems, samples and pairs, and the share of right samples."""
    names = ("problems", "left_out", "samples", "pairs")
    rows = [[name, _words(getattr(counts, name))] for name in names]
    table = tabulate(rows, tablefmt="plain", disable_numparse=True)
    samples = counts.samples
    total = samples.get("correct", 0) + samples.get("incorrect", 0)
    return f"{table}\n{samples.get('correct', 0) / total:.1%} of {total:,} samples are right"


def main(argv: Sequence[str]) -> None:
    """Parse the command line, make the pairs and print their counts."""
    description = "Sample a tuned model's answers, and pair right with wrong ones."
    path, rest = command.command_line(
        argv, "sft.preferences", description, "sampling.samples=4", "DPOConfig"
    )

    from sft.config import DpoData

    settings = parse(path, rest, DpoData, "DPOConfig")
    model, length = settings.model, settings.training.max_length
    folder = prepare(
        settings.data, model.model_name_or_path, length, settings.output, model.model_revision
    )
    print(summary(Preferences.load(folder / MANIFEST).counts))
    print(f"{folder} is ready")


if __name__ == "__main__":
    cli.run(main)
