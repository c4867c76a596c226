"""The mixture has the same bytes with any executor, and however often a build is killed."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dill
import pyarrow
import pyarrow.parquet
import pytest
from datatrove.pipeline.base import PipelineStep

from data_prep.build import build
from data_prep.local_executor import LocalExecutor
from data_prep.recipe import Recipe
from data_prep.work import STAGES, open_work
from tests.support.builds import EXIT_FOR_INPUT, command, documents, write_jsonl, write_recipe
from tinymathreason.cli import InputError
from tinymathreason.config import load

TIMEOUT = 120.0
"""Seconds after which a test gives up; even a busy machine needs far less."""


def contents(folder: Path) -> dict[str, object]:
    """Every file of a mixture; of the manifest, only what does not depend on the run."""
    found: dict[str, object] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    return found | {key: manifest[key] for key in ("recipe", "sources", "token_budget", "epochs")}


NAME = "name=recipe"
"""What the command calls `recipe`, after its file."""
USED = STAGES[1:]
"""The stages of `recipe`, which has no classifier."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Two sources in four files, with duplicates within and across sources and empty documents."""
    folder = tmp_path_factory.mktemp("data")
    shared = documents(1, 12)
    for k in range(2):
        texts = documents(10 + k, 150) + shared[: 6 + k] + [" "]
        write_jsonl(folder / f"web-{k}.jsonl", texts)
        near = [text.replace(" ", "  ", 1)[:-1] + " so." for text in texts[:5]]
        table = pyarrow.table({"text": documents(20 + k, 100) + shared + near})
        pyarrow.parquet.write_table(table, folder / f"maths-{k}.parquet")
    return write_recipe(
        folder,
        {
            "web": {"format": "jsonl", "path": f"{folder}/web-*.jsonl", "weight": 1},
            "maths": {"format": "parquet", "path": f"{folder}/maths-*.parquet", "weight": 2},
        },
        on_bad_input="skip",
    )


@pytest.fixture(scope="module")
def expected(recipe, tmp_path_factory) -> dict[str, object]:
    """The result of one undisturbed process."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build(load(Recipe, recipe, ["executor.workers=1", NAME]))
    found = contents(folder / "mixture")
    rejected = found["sources"]["web"]["documents"]["rejected"]
    assert rejected == {"empty": 2, "exact_duplicate": 6}
    assert found["sources"]["maths"]["documents"]["rejected"]["exact_duplicate"] > 12
    assert found["sources"]["maths"]["documents"]["rejected"]["near_duplicate"] == 10
    assert len(found["sources"]["maths"]["shards"]) == 4
    return found


@pytest.fixture(scope="module")
def small(recipe) -> list[str]:
    """Overrides that leave two files, for executors that start a process for each task."""
    return [
        f"sources.web.path={recipe.parent}/web-0.jsonl",
        f"sources.maths.path={recipe.parent}/maths-0.parquet",
    ]


@pytest.fixture(scope="module")
def expected_small(recipe, small, tmp_path_factory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build(load(Recipe, recipe, ["executor.workers=1", NAME, *small]))
    return contents(folder / "mixture")


def test_two_processes_write_the_same_bytes(recipe, expected, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    build(load(Recipe, recipe, ["executor.workers=2", NAME]))
    assert contents(tmp_path / "mixture") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["mixture"]


def test_ray_writes_the_same_bytes(recipe, small, expected_small, tmp_path) -> None:
    short = Path("/tmp") / f"ray-{os.getpid()}"  # noqa: S108 - a socket's path is short
    short.mkdir()
    try:
        ended = subprocess.run(
            command(recipe, *small, "executor={kind: ray, workers: 2, memory_gb: 1}"),
            cwd=tmp_path,
            env={**os.environ, "HOME": str(short), "TMPDIR": str(short)},
            capture_output=True,
            text=True,
        )
    finally:
        shutil.rmtree(short)
    assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "mixture") == expected_small


SBATCH = """import json, os, pathlib, re, subprocess, sys
folder = pathlib.Path({folder!r})
number = 100 + len(list(folder.glob("*.slurm")))
script = pathlib.Path(sys.argv[-1]).read_text()
(folder / f"{{number}}.slurm").write_text(script)
(folder / f"{{number}}.json").write_text(json.dumps(sys.argv[1:-1]))
print(f"Submitted batch job {{number}} on cluster one")
if os.environ.get("ONLY_QUEUE"):
    sys.exit()
settings = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.M))
environment = dict(os.environ, SLURM_NODELIST="here", SLURM_JOB_ID=str(number))
environment["RUN_OFFSET"] = re.search(r"RUN_OFFSET=(\\d+)", " ".join(sys.argv))[1]
first, last = re.match(r"(\\d+)-(\\d+)", settings["array"]).groups()
for task in range(int(first), int(last) + 1):
    log = settings["output"].replace("%A", str(number)).replace("%a", str(task))
    with open(log, "w") as stream:
        status = subprocess.call(
            ["bash", sys.argv[-1]], stdout=stream, stderr=stream,
            env=dict(environment, SLURM_ARRAY_TASK_ID=str(task)),
        )
    if status:
        print(open(log).read(), file=sys.stderr)
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """Stand-ins for Slurm's commands: sbatch stores the script and runs its tasks at once."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    scripts = {
        # Not as the script's interpreter: the path of the environment may have a space.
        "sbatch": f'#!/bin/bash\nexec "{sys.executable}" "{folder}/sbatch.py" "$@"\n',
        "srun": SRUN,
        "scontrol": "#!/bin/bash\necho here\n",
        "squeue": f'#!/bin/bash\necho "$@" >> {folder}/asked\ncat {folder}/queue 2> /dev/null\n',
    }
    (folder / "sbatch.py").write_text(SBATCH.format(folder=str(folder)))
    for name, script in scripts.items():
        (folder / name).write_text(script)
        (folder / name).chmod(stat.S_IRWXU)
    # Without the environment's own commands, as if it had not been activated.
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


SLURM = ["executor={kind: slurm, workers: 3, partition: long, time: '2:00:00', memory_gb: 5}"]


def test_slurm_writes_the_same_bytes(
    recipe, small, expected_small, slurm, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = subprocess.run(command(recipe, *small, *SLURM), capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "submitted to Slurm; the last job is 105\n"
    for number, (stage, tasks) in enumerate(zip(USED, (2, 1, 1, 1, 2, 1), strict=True)):
        script = (slurm / f"{100 + number}.slurm").read_text()
        settings = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE))
        assert settings["job-name"] == f"mixture-{stage}"
        assert settings["array"] == f"0-{tasks - 1}%3"
        assert (settings["partition"], settings["time"]) == ("long", "2:00:00")
        assert (settings["cpus-per-task"], settings["mem-per-cpu"]) == ("1", "5G")
        arguments = json.loads((slurm / f"{100 + number}.json").read_text())
        wanted = [f"--dependency=afterok:{99 + number}"] if number else []
        assert [a for a in arguments if "dependency" in a] == wanted
    assert len(list(slurm.glob("*.slurm"))) == len(USED)
    assert contents(tmp_path / "mixture") == expected_small
    again = subprocess.run(command(recipe, *small, *SLURM), capture_output=True, text=True)
    assert again.returncode == 0
    assert again.stdout.endswith("mixture was already complete\n")
    assert len(list(slurm.glob("*.slurm"))) == len(USED)
    assert not (tmp_path / "mixture.work").exists()


def test_a_second_submission_first_queries_slurm(recipe, slurm, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONLY_QUEUE", "1")
    settings = load(Recipe, recipe, SLURM)
    build(settings)
    assert len(list(slurm.glob("*.slurm"))) == len(USED)
    (slurm / "queue").write_text("105\n")
    with pytest.raises(InputError, match=r"jobs 100, .*105 are queued or running"):
        build(settings)
    assert "--jobs=100,101,102,103,104,105" in (slurm / "asked").read_text()
    # The jobs ended without a result; complete stages are not submitted again.
    (slurm / "queue").unlink()
    done = tmp_path / "mixture.work" / "logs" / "documents" / "completions"
    done.mkdir()
    for task in range(4):
        (done / f"{task:05}").touch()
    build(settings)
    assert len(list(slurm.glob("*.slurm"))) == 2 * len(USED) - 1
    assert "dependency" not in (slurm / "106.json").read_text()
    assert "afterok:106" in (slurm / "107.json").read_text()
    # A job that Slurm starts too early, such as after only one of several arrays, does nothing.
    (done / "00003").unlink()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_NODELIST", "here")
    pickled = tmp_path / "mixture.work" / "logs" / "duplicates" / "executor.pik"
    with pytest.raises(InputError, match="mixture-documents is not complete"):
        dill.loads(pickled.read_bytes()).run()  # noqa: S301 - our own
    assert not (tmp_path / "mixture.work" / "pairs").exists()


def test_a_refusal_by_slurm_is_reported(recipe, slurm, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    (slurm / "sbatch").write_text("#!/bin/bash\necho sbatch: no such partition >&2\nexit 1\n")
    with pytest.raises(InputError, match="sbatch ended with status 1, see above"):
        build(load(Recipe, recipe, SLURM))
    assert "no such partition" in capfd.readouterr().err


class Counted(PipelineStep):
    """A task that writes a line, and then ends in the way given for its rank.

    A task that fails first waits for task 0: its worker may take longer to start than the other
    takes for several tasks.
    """

    name, type = "counted", "test"

    def __init__(self, folder: Path, endings: dict[int, str]) -> None:
        super().__init__()
        self.folder, self.endings = folder, endings

    def run(self, data=None, rank: int = 0, world_size: int = 1):
        with (self.folder / "ran").open("a") as stream:
            stream.write(f"{rank}\n")
        ending = self.endings.get(rank)
        while ending in ("killed", "wrong") and "0" not in (self.folder / "ran").read_text():
            time.sleep(0.01)
        if ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if ending == "wrong":
            raise InputError("a.jsonl: row 5 is wrong")
        if ending == "slow":
            time.sleep(600)
        yield from ()


@pytest.mark.parametrize(
    ("ending", "words"),
    [("killed", "a worker was killed; out of memory?"), ("wrong", "a.jsonl: row 5 is wrong")],
)
def test_a_worker_that_dies_ends_the_stage_with_one_error(tmp_path, ending, words) -> None:
    def run(endings: dict[int, str]) -> None:
        steps = [Counted(tmp_path, endings)]
        LocalExecutor(steps, 6, 2, logging_dir=str(tmp_path / "logs")).run()

    # The other worker, in the middle of a long task, is ended.
    with pytest.raises(InputError, match=re.escape(words)):
        run({0: "slow", 3: ending})
    assert sorted((tmp_path / "ran").read_text().split()) == ["0", "1", "2", "3"]
    run({})
    assert sorted((tmp_path / "ran").read_text().split()) == list("00123345")


def test_processes_without_shared_memory_are_one_line(tmp_path, monkeypatch) -> None:
    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("data_prep.local_executor.ProcessPoolExecutor", refused)
    executor = LocalExecutor([Counted(tmp_path, {})], 2, 2, logging_dir=str(tmp_path / "logs"))
    with pytest.raises(InputError, match=r"write in /dev/shm.* executor\.workers=1"):
        executor.run()


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(after[1]) == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def start(recipe: Path, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command(recipe, "executor.workers=2"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ignores_ctrl_c(pid: int) -> bool:
    """Whether SIGINT is blocked or ignored in a process."""
    bit = 1 << (signal.SIGINT - 1)
    found = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return any(int(found[key], 16) & bit for key in ("SigBlk", "SigIgn"))


@pytest.mark.parametrize("wanted", [2, 4])
def test_ctrl_c_while_workers_import_is_one_line(recipe, tmp_path, wanted: int) -> None:
    # The first two children are the resource tracker and the fork server, which imports first.
    process = start(recipe, tmp_path)
    while len(found := children(process.pid)) < wanted:
        time.sleep(0.002)
    deaf = [ignores_ctrl_c(pid) for pid in found[1:]]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.endswith("interrupted: run the same command again\n")
    assert all(deaf)


def finished(work: Path) -> dict[str, int]:
    """Modification times of the marks of finished tasks, and of their records."""
    stages = (work / "logs").glob("*/completions/*")
    kept = [*stages, *(work / "train").glob("[0-9]????.array_record")]
    return {str(path): path.stat().st_mtime_ns for path in kept}


def disturb(recipe: Path, folder: Path, kills: int, longest: float, seed: int = 0) -> Counter[str]:
    """Kill a build several times, then let it finish; counts how often it was killed or resumed."""
    rng, work, found = random.Random(seed), folder / "mixture.work", Counter()
    for _ in range(kills):
        before = finished(work)
        process = start(recipe, folder)
        try:
            process.communicate(timeout=rng.uniform(0.3, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            found["killed"] += 1
        if (folder / "mixture").exists():
            break
        after = finished(work)
        assert {path: after[path] for path in before} == before
        found["resumed"] += bool(before)
    process = start(recipe, folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return found


@pytest.mark.clock
def test_killed_builds_continue_to_the_same_bytes(recipe, expected, tmp_path) -> None:
    # First kill a single worker, as the kernel does when memory runs out.
    process = start(recipe, tmp_path)
    while len(found := children(process.pid)) < 4:
        time.sleep(0.02)
    os.kill(found[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == EXIT_FOR_INPUT
    assert errors.splitlines()[-1].startswith("error: a worker was killed; out of memory?")
    assert "Traceback" not in errors
    assert not (tmp_path / "mixture").exists()
    # Half-written files of a killed process are ignored.
    for kind in ("keys/00000", "errors/documents", "progress/documents"):
        (tmp_path / "mixture.work" / kind).mkdir(parents=True, exist_ok=True)
        for suffix in (".json", ".npy"):
            (tmp_path / "mixture.work" / kind / f"00000.gone-1.partial{suffix}").write_text("ha")
    disturb(recipe, tmp_path, kills=2, longest=4)
    assert contents(tmp_path / "mixture") == expected


@pytest.mark.soak
def test_twenty_kills_change_no_byte(recipe, expected, tmp_path) -> None:
    found: Counter[str] = Counter()
    for k in itertools.count():
        folder = tmp_path / str(k)
        folder.mkdir()
        found += disturb(recipe, folder, kills=20, longest=8, seed=k)
        assert contents(folder / "mixture") == expected
        if found["killed"] >= 20:
            break
    assert found["resumed"] > 3


SLOW = """
import sys
from collections import Counter
from pathlib import Path
from data_prep.local_executor import LocalExecutor
from tests.data_prep.test_executors import Counted
folder = Path(sys.argv[1])
endings = {rank: "slow" for rank in range(2)}
LocalExecutor([Counted(folder, endings)], 2, 2, logging_dir=str(folder / "logs")).run()
"""


@pytest.mark.clock
def test_no_worker_outlives_its_parent(tmp_path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)])
    while not (tmp_path / "ran").exists() or len((tmp_path / "ran").read_text()) < len("0\n1\n"):
        assert process.poll() is None
        time.sleep(0.02)
    found = children(process.pid)
    assert len(found) > 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + TIMEOUT
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_build_into_the_folder_is_refused(recipe, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = start(recipe, tmp_path)
    try:
        while not (tmp_path / "mixture.work" / "started.json").exists():
            time.sleep(0.02)
        with pytest.raises(InputError, match=r"mixture\.work: another process is building there"):
            build(load(Recipe, recipe))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    with pytest.raises(InputError, match="unfinished build of another recipe"):
        build(load(Recipe, recipe, ["seed=1"]))
    # The executor is not part of what is built.
    open_work(load(Recipe, recipe, ["executor.workers=7"]), Path("mixture.work"))
