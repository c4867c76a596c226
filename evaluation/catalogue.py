"""The benchmarks by name, with their lm-eval tasks and the schema of their data."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.local import SPLITS, Columns, splits
from tinymathreason.cli import InputError
from tinymathreason.config import nearest
from tinymathreason.listing import list_files, reaching
from tinymathreason.provenance import file_hash

OURS = Path(__file__).parent / "lm_eval_tasks"
"""Our own tasks in lm-eval's format; ``lm_eval run --include_path`` takes the folder."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its lm-eval tasks and the schema of its data."""

    chat: str
    """The lm-eval task for a model that is prompted with its chat template."""
    plain: str
    """The lm-eval task for a model that continues text."""
    metric: str
    """The main metric of the benchmark."""
    columns: Columns
    """The columns that each row of its data must have, with their types."""
    subset: str = ""
    """Name of its configuration on the hub, where it is a folder."""
    split: str = "test"
    """The split that is evaluated."""


_ARC: Columns = {"question": str, "choices": dict, "answerKey": str}
_GSM8K: Columns = {"question": str, "answer": str}
_HELLASWAG: Columns = {
    "ctx_a": str, "ctx_b": str, "activity_label": str, "endings": list, "label": str,
}  # fmt: skip
_MATH: Columns = {"problem": str, "solution": str, "answer": str}
_MMLU: Columns = {"question": str, "choices": list, "answer": int}

BENCHMARKS = {
    "arithmetic": Benchmark("tmr_arithmetic", "tmr_arithmetic_plain", "strict", {}),
    "gsm8k": Benchmark("tmr_gsm8k", "gsm8k_cot", "strict", _GSM8K, "main"),
    "math500": Benchmark("tmr_math500", "minerva_math500", "final", _MATH),
    "arc_easy": Benchmark("arc_easy", "arc_easy", "acc_norm", _ARC, "ARC-Easy"),
    "arc_challenge": Benchmark("arc_challenge", "arc_challenge", "acc_norm", _ARC, "ARC-Challenge"),
    "hellaswag": Benchmark("hellaswag", "hellaswag", "acc_norm", _HELLASWAG, split="validation"),
    "mmlu": Benchmark("mmlu", "mmlu", "acc", _MMLU),
}
_UPSTREAM = {"gsm8k_cot": "gsm8k", "minerva_math500": "minerva_math"}
_FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}


def find(name: str) -> Benchmark:
    """The benchmark of a name; `InputError` with the nearest known name."""
    if name not in BENCHMARKS:
        raise InputError(f"task: unknown {name!r}; {nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def load(name: str, form: str, data: str | None, shots: int | None, limit: int | None) -> list[Any]:
    """The lm-eval tasks of a benchmark with their problems: one task, or one for each MMLU subject.

    ``data`` is a file of the problems, or a folder laid out as the dataset is on the hub; None
    reads the hub. ``shots`` None takes the task's own number. ``limit`` is only for arithmetic,
    which generates its problems. Raises `InputError` for data that is missing or of another schema.
    """
    benchmark = find(name)
    if name == "arithmetic" and data is not None:
        raise InputError("data: the task arithmetic generates its own problems")
    if name == "mmlu" and data is not None and not Path(data).is_dir():
        raise InputError(f"data: {data}: mmlu takes a folder with one folder for each subject")
    return [
        _task(benchmark, task, subset, data, shots, limit)
        for task, subset in _members(benchmark, form, data)
    ]


def task_hash(data: str | None) -> str:
    """SHA-256 of a task's sources: the files of its problems, our tasks and lm-eval's version.

    Remote files count by name and size. Without ``data`` there are no files of problems.
    """
    parts = [version("lm-eval")]
    files = [(str(path), 0) for path in sorted(OURS.glob("*.yaml"))]
    if data is not None and Path(data).is_dir():
        paths = (path for kind in ("parquet", "jsonl") for path in Path(data).rglob(f"*.{kind}"))
        files += [(str(path), 0) for path in sorted(paths)]
    elif data is not None:
        files += [(file.path, file.size) for file in list_files("data", data)]
    for file, size in files:
        if "://" in file:
            parts.append(f"{size}  {file}")
            continue
        parts.append(f"{file_hash(Path(file))}  {Path(file).name}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def metric_name(metric: str, filter_name: str) -> str:
    """Our name of an lm-eval metric: its filter's name if it has one, else its own."""
    return metric if filter_name == "none" else _FILTERS.get(filter_name, filter_name)


def _members(benchmark: Benchmark, form: str, data: str | None) -> Iterator[tuple[str, str]]:
    """The names of a benchmark's lm-eval tasks and of their configurations on the hub."""
    task = benchmark.chat if form == "chat" else benchmark.plain
    if task != "mmlu":
        yield task, benchmark.subset
        return
    names = [name for name in _manager(task).all_subtasks if name.startswith("mmlu_")]
    for name in names:
        subject = name.removeprefix("mmlu_")
        if data is None or (Path(data) / subject).is_dir():
            yield name, subject
    if data is not None and not any((Path(data) / n.removeprefix("mmlu_")).is_dir() for n in names):
        raise InputError(f"data: {data}: it has no folder of a subject, such as anatomy")


def _manager(task: str) -> Any:
    """lm-eval's task manager for one folder; to read all folders takes ten seconds."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    upstream = Path(lm_eval.__file__).parent / "tasks"
    family = _UPSTREAM.get(task, task.partition("_")[0])
    folder = upstream / "mmlu" / "default" if family == "mmlu" else upstream / family
    return TaskManager(
        include_defaults=False, include_path=OURS if task.startswith("tmr_") else folder
    )


def _task(
    benchmark: Benchmark,
    task: str,
    subset: str,
    data: str | None,
    shots: int | None,
    limit: int | None,
) -> Any:
    changes: dict[str, Any] = {}
    if benchmark.chat == "tmr_arithmetic" and limit is not None:
        changes["metadata"] = {"version": 1, "problems": limit}
    if task == "minerva_math500":
        from evaluation import scoring

        # Upstream runs sympy on a model's text in this process, without a time limit.
        changes["process_results"] = scoring.verdict
        changes["process_docs"] = None
        changes["metric_list"] = [
            {"metric": "correct", "aggregation": "mean", "higher_is_better": True}
        ]
        step = {"function": "custom", "filter_fn": scoring.final_answers}
        changes["filter_list"] = [{"name": "final", "filter": [step]}]
    if data is not None:
        datasets = splits(data, subset, benchmark.split, benchmark.columns)
        changes.update(custom_dataset=lambda **_: datasets)
        for key in ("training_split", "validation_split", "fewshot_split"):
            changes[key] = None
        changes[f"{benchmark.split}_split"] = benchmark.split
        others = [split for split in SPLITS if split in datasets and split != benchmark.split]
        if others and task not in _UPSTREAM:  # those have their own worked examples
            changes["fewshot_split"] = others[0]
    with reaching(f"data: {data or task}"):
        # lm-eval merges changes into a task's file only for members of a group.
        group = {"group": "changed", "task": [{"task": task, **changes}]}
        made = _manager(task).load([group])["tasks"][task]
    if shots is not None:
        made.set_config("num_fewshot", shots)
    elif made.get_config("num_fewshot") is None:
        made.set_config("num_fewshot", 0)
    wanted = made.get_config("num_fewshot")
    if wanted:
        given = made.get_config("fewshot_config").samples or made.get_config("fewshot_split")
        if not given:
            raise InputError(f"shots: {data or task} has no other split to take examples from")
        if wanted > len(made.fewshot_docs()):
            raise InputError(f"shots: {wanted} requested, {len(made.fewshot_docs())} available")
    made.set_fewshot_seed(1234)
    return made
