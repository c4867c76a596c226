"""Command: pack this project and the packages that a bare CUDA host lacks into one archive.

python -m benchmarks.pack_gpu --output gpu.tar.xz [--data DIR] [--host NAME ...]

A CUDA image usually has jax and torch for its own driver, and nothing of this project. The archive
holds the checkout (``project``), the missing packages (``site``) and ``run.sh``, which starts
`benchmarks.gpu` with both. It is made from this machine's installed packages, which are those of
the lock; nothing is downloaded. The host needs Linux, Python 3.12 and the processor type of this
machine.

Which packages are missing follows from what is installed here: all that the extras of
pyproject.toml ask for, and all that MaxText's trainer loads, without what the host has. Before the
archive is written, a Python that sees only the archive's packages and the host's imports
everything that `benchmarks.gpu` needs.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tinymathreason import cli, provenance
from tinymathreason.cli import InputError
from tinymathreason.writes import check_room

ROOT = Path(__file__).resolve().parent.parent
HOST = (
    "accelerate", "flax", "jax", "jaxlib", "matplotlib", "optax", "orbax-checkpoint", "pandas",
    "protobuf", "pyarrow", "safetensors", "scipy", "sentencepiece", "tensorboard", "tiktoken",
    "torch",
)  # fmt: skip
"""What a CUDA image for jax and torch usually has, with all that these packages ask for."""
EXTRAS = ("conversion", "sft", "evaluation", "release")
"""The extras whose packages go in. Of pretrain's, only what MaxText's trainer loads."""
LEFT_OUT = {
    "duckdb", "gcsfs", "google-cloud-storage", "google-cloud-storage-control", "libtpu",
    "scikit-learn", "xprof",
}  # fmt: skip
"""Large packages that training and measuring on a GPU with local files never call."""
XPROF = {
    "xprof/__init__.py": "",
    "xprof/cli/__init__.py": "",
    "xprof/cli/tools/__init__.py": "get_kernel_stats_tool = None\n",
}
"""Stands in for xprof, of which tokamax imports one name for its own benchmarks."""
DROPPED = ("/tests/", "/test/", "/__pycache__/", "/maxtext/assets/tokenizers/", "/zstandard/_cffi")
"""Parts of paths in packages that are not packed."""
ENTRIES = (
    "maxtext.trainers.pre_train.train", "trl", "peft", "datasets", "lm_eval.api.task",
    "lm_eval.models.huggingface", "sft.run", "sft.grpo", "evaluation.run", "release.chat",
    "conversion.to_hf", "benchmarks.gpu",
)  # fmt: skip
"""Modules that must be importable on the host."""
TRACE = """
import json, sys, {entry}
print(json.dumps([m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)]))
"""
PRESET: Final = 3
"""xz's; a higher one takes minutes."""
ENVIRONMENT = {"DECOUPLE_GCLOUD": "TRUE", "HF_HUB_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}
RUN = """#!/usr/bin/env bash
# Measure this host's GPU: bash run.sh [options of benchmarks.gpu]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/project"
export PYTHONPATH="$PWD/../site:$PWD"
data=()
[ ! -d ../data ] || data=(--data ../data)
exec "${PYTHON:-python3}" -m benchmarks.gpu "${data[@]}" "$@"
"""


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """The installed distributions that ``requirements`` ask for, directly or not, by name."""
    found: dict[str, Distribution] = {}
    todo = [Requirement(text) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        wanted = todo.pop()
        key = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = importlib.metadata.distribution(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a marker's, for another system, or an override of the lock
        found[key[0]] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            extras = wanted.extras or {""}
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras
            ):
                todo.append(requirement)
    return found


def requirements() -> list[str]:
    """What the project and its `EXTRAS` ask for, in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(text for name in EXTRAS for text in extras[name])]


def loaded_by(entry: str) -> set[str]:
    """Names of the distributions of which importing ``entry`` loads a file."""
    done = subprocess.run(
        [sys.executable, "-c", TRACE.format(entry=entry)],
        capture_output=True, encoding="utf-8", env={**os.environ, **ENVIRONMENT}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise InputError(f"{entry} cannot be imported here: {done.stderr.strip()[-300:]}")
    installed = Path(sysconfig.get_path("purelib"))
    files = {
        Path(name).relative_to(installed).as_posix()
        for name in json.loads(done.stdout.splitlines()[-1])
        if Path(name).is_relative_to(installed)
    }
    # Read as text: importlib.metadata would take seconds for the files of all packages.
    return {
        canonicalize_name(record.parent.name.partition("-")[0])
        for record in installed.glob("*.dist-info/RECORD")
        if not files.isdisjoint(
            line.partition(",")[0] for line in record.read_text(encoding="utf-8").splitlines()
        )
    }


def missing(host: Iterable[str], loaded: Iterable[str]) -> dict[str, Distribution]:
    """The distributions that a host with the packages ``host`` lacks, by name.

    ``loaded`` are those that MaxText's trainer loads.
    """
    present = closure(host).keys() | LEFT_OUT | {"tinymathreason"}
    wanted = closure(requirements())
    for name in loaded:
        wanted.setdefault(name, importlib.metadata.distribution(name))
    return {name: wanted[name] for name in sorted(wanted) if name not in present}


def copy(distribution: Distribution, site: Path) -> None:
    """Copy a distribution's files without scripts, tests and bytecode."""
    for file in distribution.files or ():
        name = file.as_posix()
        if ".." in file.parts:  # a script, beside the packages
            continue
        if name.endswith("_test.py") or any(part in f"/{name}" for part in DROPPED):
            continue
        source = Path(str(distribution.locate_file(file)))
        if source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, site / file)


def link(distribution: Distribution, farm: Path) -> None:
    """Link a distribution's files into ``farm``, a folder that stands for the host's packages."""
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        if source.is_file() and ".." not in file.parts:  # not a script, beside the packages
            target = farm / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)


def make_site(packages: Iterable[Distribution], site: Path) -> None:
    """Fill ``site`` with packages, the stand-in for xprof, and this project's `maxtext.train`."""
    for distribution in packages:
        copy(distribution, site)
    for name, text in XPROF.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    shutil.copy2(ROOT / "pretrain" / "maxtext_train.py", site / "maxtext" / "train.py")


def check(folder: Path, host: Iterable[str], work: Path) -> None:
    """Import all `ENTRIES` with the packed packages and the host's alone.

    Raises `InputError` with the first that fails.
    """
    farm = work / "host"
    for distribution in closure(host).values():
        link(distribution, farm)
    paths = [str(path) for path in (folder / "site", folder / "project", farm)]
    # -S leaves out this machine's packages, -I the user's settings.
    code = (
        f"import sys; sys.path[:0] = {paths!r}; import importlib\nimportlib.import_module({{!r}})"
    )
    for entry in ENTRIES:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code.format(entry)],
            capture_output=True, encoding="utf-8", env={**os.environ, **ENVIRONMENT}, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"the archive would lack something for {entry}: {last}")


def copy_project(folder: Path) -> None:
    """Copy the files that git knows, as they are now, and name the commit."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "COMMIT").write_text(f"{provenance.commit()}\n", encoding="utf-8")


def main(argv: Sequence[str]) -> None:
    """Parse the command line, collect, check and write the archive."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.pack_gpu", description="Pack this project for a bare CUDA host."
    )
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/gpu.tar.xz"))
    parser.add_argument(
        "--data", type=Path, help="real text to pack: the folder of `make realdata`"
    )
    parser.add_argument(
        "--host", nargs="+", default=HOST, metavar="NAME", help="packages that the host has"
    )
    arguments = parser.parse_args(argv)
    if arguments.data and not arguments.data.is_dir():
        raise InputError(f"--data {arguments.data}: no such folder")
    output = arguments.output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    check_room(output)
    packages = missing(arguments.host, loaded_by("maxtext.trainers.pre_train.train"))
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        work = Path(name)
        folder = work / "gpu"
        make_site(packages.values(), folder / "site")
        copy_project(folder / "project")
        if arguments.data:
            shutil.copytree(arguments.data, folder / "data")
        (folder / "run.sh").write_text(RUN, encoding="utf-8")
        check(folder, arguments.host, work)
        shutil.rmtree(work / "host")
        with tarfile.open(work / "archive", "w:xz", preset=PRESET) as archive:
            archive.add(folder, "gpu")
        (work / "archive").replace(output)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {len(packages)} packages:")
    print(" ".join(f"{name}=={packages[name].version}" for name in packages))
    print("on the host: tar xf gpu.tar.xz && bash gpu/run.sh")


if __name__ == "__main__":
    cli.run(main)
