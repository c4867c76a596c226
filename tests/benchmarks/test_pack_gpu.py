"""The archive for a bare CUDA host holds what the host lacks, at the lock's versions."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks import pack_gpu
from tinymathreason.cli import InputError


def test_what_a_host_lacks() -> None:
    packages = pack_gpu.missing(pack_gpu.HOST, {"tokamax", "jax"})
    assert {"maxtext", "tokamax", "trl", "transformers", "peft", "lm-eval", "omegaconf"} <= (
        packages.keys()
    )
    assert packages.keys().isdisjoint({"jax", "torch", "numpy", "xprof", "libtpu", "pyarrow"})
    # A host that has one more lacks it and what only it asks for no longer.
    fewer = pack_gpu.missing([*pack_gpu.HOST, "transformers"], {"tokamax"})
    assert {"transformers", "tokenizers"} <= packages.keys() - fewer.keys()
    lock = dict(
        re.findall(r"^([\w.-]+)==(\S+)", Path("requirements.txt").read_text(), re.MULTILINE)
    )
    assert {name: lock[name] for name in packages} == {
        name: distribution.version for name, distribution in packages.items()
    }


def test_the_packed_packages_are_enough_or_it_says_what_is_not(tmp_path, monkeypatch) -> None:
    """With the entry tabulate, which needs itself alone, and a host that has nothing."""
    monkeypatch.setattr(pack_gpu, "ENTRIES", ("tabulate",))
    folder = tmp_path / "gpu"
    (folder / "site" / "maxtext").mkdir(parents=True)
    with pytest.raises(InputError, match="would lack something for tabulate: ModuleNotFoundError"):
        pack_gpu.check(folder, [], tmp_path)
    pack_gpu.make_site([importlib.metadata.distribution("tabulate")], folder / "site")
    pack_gpu.check(folder, ["numpy"], tmp_path)
    # numpy has scripts beside its package: they are not linked, least of all outside the folder.
    assert {path.name for path in (tmp_path / "host").iterdir()} >= {"numpy"}
    assert {path.name for path in tmp_path.iterdir()} == {"gpu", "host"}
    assert (folder / "site" / "maxtext" / "train.py").is_file()
    monkeypatch.setattr(pack_gpu, "ENTRIES", ("xprof.cli.tools",))
    pack_gpu.check(folder, [], tmp_path)


def test_packages_travel_without_tests_and_bytecode(tmp_path) -> None:
    pack_gpu.copy(importlib.metadata.distribution("humanize"), tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert "humanize/__init__.py" in names
    assert any(name.endswith(".dist-info/METADATA") for name in names)
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_project_travels_with_its_commit(tmp_path) -> None:
    pack_gpu.copy_project(tmp_path)
    assert (tmp_path / "benchmarks" / "gpu.py").read_bytes() == Path(
        "benchmarks/gpu.py"
    ).read_bytes()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert (tmp_path / "COMMIT").read_text().startswith(commit)
    assert not (tmp_path / ".venv").exists()


def test_what_a_module_loads() -> None:
    assert pack_gpu.loaded_by("tabulate") >= {"tabulate"}
    with pytest.raises(InputError, match="cannot be imported here"):
        pack_gpu.loaded_by("no_such_module")


def test_data_that_is_not_there(tmp_path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        pack_gpu.main(["--data", str(tmp_path / "none"), "--output", str(tmp_path / "x.tar.xz")])
