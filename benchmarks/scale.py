"""Command: measure how a build's time, memory and disk grow with its text; estimate 1.2 TB.

python -m benchmarks.scale --data DIR [--times 1 4 16]

Every build reads distinct text: the shared data and copies with other words
(`benchmarks.corpus.Copies`), in Parquet files of bounded size, so that larger builds have both more
and larger tasks. The tokenizer is trained beforehand: its cost is bounded, and
`benchmarks.tokenizer` measures it. One full range of keys, the most that a task of the duplicates
stage holds in memory, is measured separately, since its text would be 2 GB.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import corpus
from benchmarks.corpus import HOME, QUESTIONS, SOURCES, Usage, call, measured, write_recipe
from tinymathreason import cli
from tinymathreason.records.mixture import Mixture

if TYPE_CHECKING:
    from data_prep.work import Work

FULL = 1.2e12
"""Bytes of the 1B model's text, 300 billion tokens."""
EACH_ITS_TASK = ("documents", "duplicates", "records")
"""Stages with many tasks; each of the others has a single one."""
CORES, NODES = 64, 1000
"""Cores of one large machine, and tasks at the same time on Slurm."""
DOCUMENT = 4000
"""Average bytes of a document, for a full range of keys."""
TWINS = 10
"""One document out of this many in the full range is a duplicate of another one."""


def build(times: int, data: Path, home: Path) -> tuple[dict[str, Any], Usage]:
    """Build ``times`` copies of the data; returns the counts, and the resources used."""
    text, output = home / "text", home / "output"
    written = json.loads(
        measured(call("benchmarks.corpus", "write_copies", data, times, text)).output
    )
    recipe = write_recipe(
        home / "output.json",
        text,
        {name: ("parquet", f"{name}/*.parquet") for name in SOURCES},
        tokenizer={"path": str(home / "tokenizer")},
        decontaminate=[{"path": str(data / QUESTIONS), "fields": ["question"]}],
        eval_fraction=0.005,
    )
    folders = output, output.with_name("output.work")
    usage = measured([sys.executable, "-m", "data_prep.build", str(recipe)], *folders)
    sources = Mixture.load(output / "manifest.json").sources.values()
    kept = sum(entry.documents.kept for entry in sources)
    shutil.rmtree(text)
    shutil.rmtree(output)
    return {"times": times, **written, "kept": kept}, usage


def line(result: tuple[dict[str, Any], Usage]) -> dict[str, Any]:
    """One build as a line of JSON."""
    size, usage = result[0]["bytes"], result[1]
    return {
        "benchmark": "scale",
        **result[0],
        "cpu_seconds": usage.cpu_seconds,
        "mb_per_cpu_second": round(size / 1e6 / usage.cpu_seconds, 2),
        "peak_gb": usage.peak_gb,
        "stages_cpu_seconds": usage.stages,
        "disk_gb": round(sum(usage.disk.values()) / 1e9, 3),
        "disk_per_byte": {
            kind: round(value / size, 4) for kind, value in sorted(usage.disk.items())
        },
        "planned": usage.errors.partition("tokens in training; ")[2].partition("\n")[0],
    }


def growth(results: list[tuple[dict[str, Any], Usage]]) -> dict[str, Any]:
    """The growth of CPU seconds with bytes, as an exponent, and as a fixed cost plus one per MB.

    The fixed cost (imports, the plan's sample, the report) makes the exponent of the whole build
    look better than it is; it affects the stages with many tasks less.
    """
    sizes = [entry["bytes"] / 1e6 for entry, _ in results]
    whole = [usage.cpu_seconds for _, usage in results]
    tasks = [sum(usage.stages[stage] for stage in EACH_ITS_TASK) for _, usage in results]
    line = statistics.linear_regression(sizes, whole)
    return {
        "benchmark": "scale",
        "exponent": exponent(sizes, whole),
        "exponent_of_tasks": exponent(sizes, tasks),
        "exponent_of_tasks_last_two": exponent(sizes[-2:], tasks[-2:]),
        "fixed_cpu_seconds": round(line.intercept, 2),
        "mb_per_cpu_second_beyond": round(1 / line.slope, 2),
        "peak_gb": [usage.peak_gb for _, usage in results],
    }


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """The exponent with which the seconds grow with the size, by least squares on logarithms."""
    logs = (list(map(math.log, values)) for values in (sizes, seconds))
    return round(statistics.linear_regression(*logs).slope, 3)


def full(results: list[tuple[dict[str, Any], Usage]], a_range: dict[str, Any]) -> dict[str, Any]:
    """Estimate the cost of `FULL` bytes from the growth of each stage.

    The growth of a stage with a single task is close to the noise, so its hours are only an order
    of magnitude.
    """
    sizes = [entry["bytes"] for entry, _ in results]
    spent = {}
    for stage in results[-1][1].stages:
        seconds = [usage.stages[stage] for _, usage in results]
        spent[stage] = max(0.0, statistics.linear_regression(sizes, seconds).slope) * FULL / 3600
    spent["duplicates"] = a_range["cpu_seconds"] / a_range["bytes_of_text"] * FULL / 3600
    alone = sum(hours for stage, hours in spent.items() if stage not in EACH_ITS_TASK)
    shared = sum(spent[stage] for stage in EACH_ITS_TASK)
    disk = {kind: value / sizes[-1] * FULL for kind, value in results[-1][1].disk.items()}
    records = disk.pop("train", 0.0) + disk.pop("eval", 0.0)
    parts = {
        "documents": disk.pop("documents", 0.0),
        "fingerprints": disk.pop("fingerprints", 0.0) + disk.pop("ids", 0.0),
        "keys": disk.pop("keys", 0.0),
        "records": records,
        "rest": sum(disk.values()),
    }
    memory = max(a_range["peak_gb"], *(usage.peak_gb for _, usage in results))
    return {
        "benchmark": "scale",
        "estimated_for_bytes": FULL,
        "cpu_hours": round(shared + alone),
        "cpu_hours_of": {stage: round(hours, 2) for stage, hours in spent.items()},
        "disk_tb": {kind: round(value / 1e12, 3) for kind, value in parts.items()},
        "bytes_per_document": round(sizes[-1] / results[-1][0]["documents"]),
        "gb_of_memory_per_worker": memory,
        f"hours_on_{CORES}_cores": round(shared / CORES + alone, 1),
        f"gb_of_memory_on_{CORES}_cores": round(CORES * memory),
        f"hours_on_{NODES}_slurm_tasks": round(shared / NODES + alone, 2),
    }


def _range(folder: str) -> "Work":
    """A working folder with as many documents as fill one range of keys."""
    from data_prep.recipe import Recipe, Source, TokenizerSource
    from data_prep.similarity import BANDS
    from data_prep.stages.documents import DOCUMENTS_PER_RUN
    from data_prep.work import KEYS_PER_RANGE, Task, Work

    source = Source(format="generator", path="number_facts", documents=1, weight=1)
    recipe = Recipe(
        output_dir=Path(folder),
        tokenizer=TokenizerSource(path=Path(folder)),
        sources={"made": source},
    )
    count = -(-KEYS_PER_RANGE // (BANDS + 1) // DOCUMENTS_PER_RUN)
    tasks = [Task(number, "made", number, count, [], 0) for number in range(count)]
    return Work(recipe, Path(folder), tasks)


def fill_range(folder: str) -> None:
    """Write the keys and fingerprints of random documents, some of which are duplicates."""
    import numpy as np

    from data_prep import similarity
    from data_prep.arrays import save_array
    from data_prep.stages import artifacts
    from data_prep.stages.documents import DOCUMENTS_PER_RUN

    work, rng = _range(folder), np.random.default_rng(0)
    size = similarity.RECORD.itemsize
    for task in work.tasks:
        # Every task begins with the same documents.
        twins = np.random.default_rng(1) if task.number else rng
        parts = (
            (twins, DOCUMENTS_PER_RUN // TWINS),
            (rng, DOCUMENTS_PER_RUN - DOCUMENTS_PER_RUN // TWINS),
        )
        raw = np.concatenate([r.integers(256, size=(n, size), dtype=np.uint8) for r, n in parts])
        hashes = [
            r.integers(2**64, size=(n, similarity.BANDS + 1), dtype=np.uint64) for r, n in parts
        ]
        keys = np.zeros((DOCUMENTS_PER_RUN, similarity.BANDS + 1), dtype=artifacts.KEY)
        keys["key"] = np.concatenate(hashes)
        keys["row"] = np.arange(DOCUMENTS_PER_RUN)[:, None]
        flat = keys.reshape(-1)
        save_array(work.path(artifacts.KEYS, task.number), flat[np.argsort(flat["key"])])
        save_array(
            work.path(artifacts.FINGERPRINTS, task.number), raw.view(similarity.RECORD)[:, 0]
        )


def compare_range(folder: str) -> None:
    """Find the duplicates of the full range; prints the counts."""
    import numpy as np

    from data_prep.stages import artifacts
    from data_prep.stages.documents import DOCUMENTS_PER_RUN
    from data_prep.stages.duplicates import Compare

    work = _range(folder)
    for _ in Compare(work).run(rank=0, world_size=1):
        pass
    documents = len(work.tasks) * DOCUMENTS_PER_RUN
    pairs = len(np.load(work.path(artifacts.PAIRS), mmap_mode="r"))
    counts = {"documents": documents, "pairs": pairs, "bytes_of_text": documents * DOCUMENT}
    print(json.dumps(counts))


def main(argv: Sequence[str]) -> None:
    """Parse the command line, build at every size and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.scale", description="Measure how a build grows with its text."
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of `make realdata`")
    parser.add_argument(
        "--times", type=int, nargs="+", default=[1, 4, 16], help="multiples of the data, ascending"
    )
    arguments = parser.parse_args(argv)
    if len(arguments.times) < 2 or arguments.times != sorted({*arguments.times}):
        raise cli.InputError("--times: expected at least two multiples, ascending")
    home, data = HOME / "scale", corpus.check_data(arguments.data)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    measured(call("benchmarks.corpus", "train", data, home / "tokenizer"))
    build(arguments.times[0], data, home)  # from then on, all import compiled modules
    results = []
    for times in arguments.times:
        results.append(build(times, data, home))
        print(json.dumps(line(results[-1])), flush=True)
    print(json.dumps(growth(results)), flush=True)
    measured(call("benchmarks.scale", "fill_range", home / "range"))
    usage = measured(call("benchmarks.scale", "compare_range", home / "range"))
    a_range = {
        "benchmark": "scale",
        "full_range": True,
        **json.loads(usage.output),
        "cpu_seconds": usage.cpu_seconds,
        "peak_gb": usage.peak_gb,
    }
    print(json.dumps(a_range), flush=True)
    print(json.dumps(full(results, a_range)))
    shutil.rmtree(home)


if __name__ == "__main__":
    cli.run(main)
