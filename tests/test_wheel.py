"""``python -m maxtext.train`` exists after a normal install, in either order of the packages."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ENTRY = Path("pretrain/maxtext_train.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = "import hatchling.build, sys; hatchling.build.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_places_one_thin_file_into_maxtext(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("maxtext/")] == ["maxtext/train.py"]
    assert zipfile.ZipFile(wheel).read("maxtext/train.py") == ENTRY.read_bytes()
    for shipped in (
        "maxtext_configs/tinymathreason_1b.yml",
        "tinymathreason/chat_templates/chatml.jinja",
        "sft/configs/quickstart.yaml",
        "data_prep/recipes/quickstart.yaml",
        "evaluation/lm_eval_tasks/tmr_gsm8k.yaml",
        "release/templates/card.md.jinja",
        "release/templates/report.css",
        "release/templates/report.html.jinja",
        "pretrain/preflight/published.yaml",
        "pretrain/preflight/published_base.yml",
        "pretrain/preflight/sweeps/v4-32.yaml",
        "pretrain/launch/host.sh",
        "release/serving/chat.html",
    ):
        assert shipped in names
    packages = {name.split("/")[0] for name in names if name.endswith("/__init__.py")}
    assert {name for name in names if name.endswith("py.typed")} == {
        f"{package}/py.typed" for package in packages
    }


def test_the_editable_install_holds_the_same_file() -> None:
    spec = importlib.util.find_spec("maxtext")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent / "train.py"
    assert installed.read_bytes() == ENTRY.read_bytes(), "run: rm .venv/.complete && make setup"


def test_the_editable_install_names_its_folder_in_ascii() -> None:
    site = Path(sysconfig.get_path("purelib"))
    (path,) = site.glob("*tinymathreason*.pth")
    assert path.read_text() == "../../../..\n"
    assert (site / path.read_text().strip()).resolve() == Path.cwd()


@pytest.mark.parametrize("first", ["ours", "maxtext"])
def test_a_normal_install_runs_in_either_order(wheel, tmp_path, first: str) -> None:
    site = tmp_path / "site"
    upstream = Path(importlib.util.find_spec("maxtext").origin).parent

    def ours() -> None:
        zipfile.ZipFile(wheel).extractall(site)

    def maxtext() -> None:
        ignore = shutil.ignore_patterns("train.py", "__pycache__", "assets")
        shutil.copytree(upstream, site / "maxtext", ignore=ignore, dirs_exist_ok=True)

    for install in (ours, maxtext) if first == "ours" else (maxtext, ours):
        install()
    # Everything else comes from this environment; this checkout itself must not help.
    path = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    result = subprocess.run(
        [sys.executable, "-S", "-m", "maxtext.train", "none.yml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (2, "error: none.yml: no such file\n")
