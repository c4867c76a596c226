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
    own_shots: bool = False
    """Whether worked examples are drawn from that split, as in lm-eval, but never the problem."""
    groups: tuple[str, ...] = ()
    """Columns by whose values the problems are also counted, where the data has them."""
    variants: bool = False
    """Whether variants of the problems are asked, too."""
    versions_of: str = ""
    """Column of the problem that a row is a version of, where the data has it."""


_ARC: Columns = {"question": str, "choices": dict, "answerKey": str}
_GSM8K: Columns = {"question": str, "answer": str}
_HELLASWAG: Columns = {
    "ctx_a": str, "ctx_b": str, "activity_label": str, "endings": list, "label": str,
}  # fmt: skip
_MATH: Columns = {"problem": str, "solution": str, "answer": str}
_MMLU: Columns = {"question": str, "choices": list, "answer": int}
_ASDIV: Columns = {"body": str, "question": str, "answer": str}
_GSM_PLUS: Columns = {"question": str, "solution": str, "answer": str}
_MAWPS: Columns = {"question": str, "result": str}
_SVAMP: Columns = {"Body": str, "Question": str, "Answer": str}

# fmt: off
BENCHMARKS = {
    "arithmetic": Benchmark("tmr_arithmetic", "tmr_arithmetic_plain", "strict", {}),
    "gsm8k": Benchmark("tmr_gsm8k", "gsm8k_cot", "strict", _GSM8K, "main"),
    "gsm8k_variants": Benchmark(
        "tmr_gsm8k_variants", "tmr_gsm8k_variants_plain", "strict", _GSM8K, "main",
        groups=("kind",), variants=True,
    ),
    "gsm_plus": Benchmark(
        "tmr_gsm_plus", "gsm_plus", "strict", _GSM_PLUS,
        own_shots=True, groups=("perturbation_type",), versions_of="seed_question",
    ),
    "gsm_plus_mini": Benchmark(
        "tmr_gsm_plus_mini", "gsm_plus_mini", "strict", _GSM_PLUS,
        split="testmini", own_shots=True, groups=("perturbation_type",),
        versions_of="seed_question",
    ),
    "svamp": Benchmark("tmr_svamp", "tmr_svamp_plain", "strict", _SVAMP, groups=("Type",)),
    "asdiv": Benchmark(
        "tmr_asdiv", "tmr_asdiv_plain", "strict", _ASDIV, "asdiv", "validation",
        groups=("solution_type",),
    ),
    "asdiv_cot_llama": Benchmark(
        "asdiv_cot_llama", "asdiv_cot_llama", "strict", _ASDIV, "asdiv", "validation",
        groups=("solution_type",),
    ),
    "mawps": Benchmark("tmr_mawps", "tmr_mawps_plain", "strict", _MAWPS),
    "math500": Benchmark(
        "tmr_math500", "minerva_math500", "final", _MATH, groups=("level", "subject")
    ),
    "arc_easy": Benchmark("arc_easy", "arc_easy", "acc_norm", _ARC, "ARC-Easy"),
    "arc_challenge": Benchmark("arc_challenge", "arc_challenge", "acc_norm", _ARC, "ARC-Challenge"),
    "hellaswag": Benchmark("hellaswag", "hellaswag", "acc_norm", _HELLASWAG, split="validation"),
    "mmlu": Benchmark("mmlu", "mmlu", "acc", _MMLU),
}
# fmt: on
_UPSTREAM = {
    "asdiv_cot_llama": "asdiv",
    "gsm8k_cot": "gsm8k",
    "gsm_plus": "gsm_plus",
    "gsm_plus_mini": "gsm_plus",
    "minerva_math500": "minerva_math",
}
"""Folders of lm-eval's tasks that are not the first word of their names."""
_EXAMPLES = ("asdiv_cot_llama", "gsm8k_cot", "minerva_math500", "_plain")
"""Ends of the names of tasks that have their own worked examples."""
_FILTERS = {"strict-match": "strict", "flexible-extract": "flexible"}


def find(name: str) -> Benchmark:
    """The benchmark of a name; `InputError` with the nearest known name."""
    if name not in BENCHMARKS:
        raise InputError(f"task: unknown {name!r}; {nearest(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def load(
    name: str, form: str, data: str | None, shots: int | None, limit: int | None, seed: int = 0
) -> list[Any]:
    """The lm-eval tasks of a benchmark with their problems: one task, or one for each MMLU subject.

    ``data`` is a file of the problems, or a folder laid out as the dataset is on the hub; None
    reads the hub. ``shots`` None takes the task's own number. ``limit`` is only for tasks that
    generate problems: arithmetic, and those with variants, of which it counts the originals;
    ``seed`` is that of the variants. Raises `InputError` for data that is missing or of another
    schema.
    """
    benchmark = find(name)
    if name == "arithmetic" and data is not None:
        raise InputError("data: the task arithmetic generates its own problems")
    if name == "mmlu" and data is not None and not Path(data).is_dir():
        raise InputError(f"data: {data}: mmlu takes a folder with one folder for each subject")
    return [
        _task(benchmark, task, subset, data, shots, limit, seed)
        for task, subset in _members(benchmark, form, data)
    ]


def task_hash(data: str | None, name: str = "") -> str:
    """SHA-256 of a task's sources: the files of its problems, our tasks and lm-eval's version.

    For a benchmark of that ``name`` with variants, also of what makes them. Remote files count by
    name and size. Without ``data`` there are no files of problems.
    """
    parts = [version("lm-eval")]
    files = [(str(path), 0) for path in sorted(OURS.glob("*.yaml"))]
    if name in BENCHMARKS and BENCHMARKS[name].variants:
        from tinymathreason import variants

        files += [(path, 0) for path in sorted(map(str, Path(variants.__path__[0]).glob("*.py")))]
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
    seed: int,
) -> Any:
    changes: dict[str, Any] = {}
    if benchmark.variants:
        changes["metadata"] = {"version": 1, "limit": limit, "seed": seed}
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
        optional = [*benchmark.groups, *filter(None, [benchmark.versions_of])]
        datasets = splits(data, subset, benchmark.split, benchmark.columns, optional)
        if benchmark.variants:
            from evaluation.variants import expanded

            datasets = {benchmark.split: expanded(datasets[benchmark.split], limit, seed)}
        changes.update(custom_dataset=lambda **_: datasets)
        for key in ("training_split", "validation_split", "fewshot_split"):
            changes[key] = None
        name = "validation" if benchmark.split == "validation" else "test"
        changes[f"{name}_split"] = benchmark.split
        others = [split for split in SPLITS if split in datasets and split != benchmark.split]
        if benchmark.own_shots:
            changes["fewshot_split"] = benchmark.split
        elif others and not task.endswith(_EXAMPLES):
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
        available = len(made.fewshot_docs()) - benchmark.own_shots
        if wanted > available:
            raise InputError(f"shots: {wanted} requested, {available} available")
    made.set_fewshot_seed(1234)
    return made
