"""The benchmarks by name: which lm-eval task each is, and where its problems come from."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.rows import list_files, reaching
from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.config import nearest

OURS = Path(__file__).parent / "lm_eval_tasks"
"""Tasks of our own in lm-eval's form: ``lm_eval run --include_path`` takes the folder."""
MATH500_COLUMNS = ("problem", "solution", "answer")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its lm-eval tasks and the schema of its data."""

    chat: str
    """The lm-eval task for a model that is asked by its chat template."""
    plain: str
    """The lm-eval task for a model that continues text."""
    metric: str
    """The metric that stands for the benchmark."""
    columns: tuple[str, ...]
    """What each row of its data must have."""
    subset: str = ""
    """Name of its configuration on the hub, which is a folder there."""
    split: str = "test"
    """The split that is asked."""


BENCHMARKS = {
    "arithmetic": Benchmark("tmr_arithmetic", "tmr_arithmetic_plain", "strict", ()),
    "gsm8k": Benchmark("tmr_gsm8k", "gsm8k_cot", "strict", ("question", "answer"), "main"),
    "math500": Benchmark("tmr_math500", "minerva_math500", "final", MATH500_COLUMNS),
    "arc_easy": Benchmark(
        "arc_easy", "arc_easy", "acc_norm", ("question", "choices", "answerKey"), "ARC-Easy"
    ),
    "arc_challenge": Benchmark(
        "arc_challenge",
        "arc_challenge",
        "acc_norm",
        ("question", "choices", "answerKey"),
        "ARC-Challenge",
    ),
    "hellaswag": Benchmark(
        "hellaswag",
        "hellaswag",
        "acc_norm",
        ("ctx_a", "ctx_b", "activity_label", "endings", "label"),
        "",
        "validation",
    ),
    "mmlu": Benchmark("mmlu", "mmlu", "acc", ("question", "choices", "answer")),
}
_UPSTREAM = {"gsm8k_cot": "gsm8k", "minerva_math500": "minerva_math"}
_FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}


def find(name: str) -> Benchmark:
    """The benchmark of a name; `InputError` with the nearest right one."""
    if name not in BENCHMARKS:
        raise InputError(f"task: unknown {name!r}; {nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def load(name: str, form: str, data: str | None, shots: int | None, limit: int | None) -> list[Any]:
    """The lm-eval tasks of a benchmark, one but for MMLU's subjects, with their problems.

    ``data`` is a file of the problems, or a folder laid out as the dataset is on the hub; None
    reads the hub. ``shots`` None takes the task's own number. ``limit`` only tells the endless
    arithmetic how many to make. Raises `InputError` for data that is missing or of another schema.
    """
    benchmark = find(name)
    if name == "arithmetic" and data is not None:
        raise InputError("data: the task arithmetic makes its own problems")
    if name == "mmlu" and data is not None and not Path(data).is_dir():
        raise InputError(f"data: {data}: mmlu takes a folder that holds one for each subject")
    return [
        _task(benchmark, task, subset, data, shots, limit)
        for task, subset in _members(benchmark, form, data)
    ]


def metric_name(metric: str, filter_name: str) -> str:
    """Our name of an lm-eval metric: how the answer was found, where there are several ways."""
    return metric if filter_name == "none" else _FILTERS.get(filter_name, filter_name)


def _members(benchmark: Benchmark, form: str, data: str | None) -> Iterator[tuple[str, str]]:
    """Names of lm-eval tasks, and of their configurations on the hub."""
    task = benchmark.chat if form == "chat" else benchmark.plain
    if task != "mmlu":
        yield task, benchmark.subset
        return
    found = [name for name in _manager(task).all_subtasks if name.startswith("mmlu_")]
    for name in found:
        subject = name.removeprefix("mmlu_")
        if data is None or (Path(data) / subject).is_dir():
            yield name, subject
    if data is not None and not any((Path(data) / n.removeprefix("mmlu_")).is_dir() for n in found):
        raise InputError(f"data: {data}: no folder of a subject, such as anatomy, is in it")


def _manager(task: str) -> Any:
    """lm-eval's finder of tasks, shown one folder: all of them take it ten seconds."""
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

        # Upstream's own comparison runs sympy on a model's text in this process, without end.
        changes["process_results"] = scoring.verdict
        changes["process_docs"] = None
        changes["metric_list"] = [
            {"metric": "correct", "aggregation": "mean", "higher_is_better": True}
        ]
        step = {"function": "custom", "filter_fn": scoring.final_answers}
        changes["filter_list"] = [{"name": "final", "filter": [step]}]
    if data is not None:
        splits = _splits(benchmark, subset, data)
        changes.update(custom_dataset=lambda **_: splits)
        for key in ("training_split", "validation_split", "fewshot_split"):
            changes[key] = None
        changes[f"{benchmark.split}_split"] = benchmark.split
        for split in ("train", "validation", "dev"):
            if split in splits and split != benchmark.split:
                changes["fewshot_split"] = split
                break
    with reaching(f"data: {data or task}"):
        # Only the members of a group are built from the task's file and these changes.
        group = {"group": "asked", "task": [{"task": task, **changes}]}
        made = _manager(task).load([group])["tasks"][task]
    if shots is not None:
        made.set_config("num_fewshot", shots)
    elif made.get_config("num_fewshot") is None:
        made.set_config("num_fewshot", 0)
    given = made.get_config("fewshot_config").samples
    if made.get_config("num_fewshot") and not given and not made.get_config("fewshot_split"):
        raise InputError(f"shots: {data} holds no other split to take examples from")
    made.set_fewshot_seed(1234)
    return made


def _splits(benchmark: Benchmark, subset: str, data: str) -> dict[str, Any]:
    """Datasets by split, of a file that is the asked split or of a folder laid out as the hub's."""
    if not Path(data).is_dir():
        files = [file for file, _ in list_files("data", data)]
        return {benchmark.split: _read(files, benchmark)}
    found = {}
    for split in ("train", "validation", "dev", "test"):
        for folder in (Path(data, subset), Path(data, subset, "data"), Path(data)):
            paths = sorted([*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.jsonl")])
            if paths:
                found[split] = _read([str(path) for path in paths], benchmark)
                break
    if benchmark.split not in found:
        raise InputError(f"data: {data}: no {benchmark.split}-*.parquet or .jsonl in it")
    return found


def _read(files: Sequence[str], benchmark: Benchmark) -> Any:
    """Files of a benchmark as a dataset of every row; `InputError` naming what is wrong in them."""
    from datasets import Dataset

    rows = []
    for file in files:
        for number, row in enumerate(_rows(file)):
            for name in benchmark.columns:
                if not isinstance(row, dict) or name not in row:
                    raise InputError(f"{file}: row {number} has no {name!r}")
            if benchmark.chat == "tmr_gsm8k" and read_final(str(row["answer"])) is None:
                raise InputError(f"{file}: row {number} has no final line '#### number'")
            rows.append(row)
    if not rows:
        raise InputError(f"{files[0]}: no problem in it")
    return Dataset.from_list(rows)


def _rows(file: str) -> Iterator[Any]:
    import fsspec
    import pyarrow
    import pyarrow.parquet

    with fsspec.open(file, "rb") as opened:
        if file.endswith(".parquet"):
            try:
                yield from pyarrow.parquet.read_table(opened).to_pylist()
            except pyarrow.ArrowInvalid as error:
                raise InputError(f"{file}: is no Parquet file: {error}") from error
            return
        for number, line in enumerate(opened):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{file}: row {number} is not JSON (line {number + 1})") from error
