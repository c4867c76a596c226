"""The documents: a site that builds, a reference without gaps, and names and pictures of today."""

import dataclasses
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_prep.recipe import Recipe, Source
from docs import architecture
from sft.config import DpoData, GrpoData, SftData
from tests.test_commands import ROOMS

ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [Path(name) for name in ROOT_PAGES] + sorted(Path("docs").glob("*.md"))


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [*command, "--config-file", str(project / "mkdocs.yml"), "--site-dir", str(site)],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(Path(), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_page_and_every_key(site) -> None:
    pages = {path.stem for path in site.glob("*.html")}
    assert pages >= {path.stem for path in Path("docs").glob("*.md")} | {"index", "reference"}
    text = (site / "reference.html").read_text()
    for configuration in (Recipe, Source, SftData, DpoData, GrpoData):
        for key in dataclasses.fields(configuration):
            assert f"<td><code>{key.name}</code></td>" in text
    cells = re.search(r"<code>token_budget</code></td>(.*?)</tr>", text, re.DOTALL)[1]
    assert re.findall(r"<td>(.*?)</td>", cells)[:2] == [
        "<code>int or None</code>",
        "<code>None</code>",
    ]
    assert "tokens" in cells.casefold()


def test_the_site_needs_no_network(site) -> None:
    for path in site.glob("*.html"):
        loaded = re.findall(r"<(?:script|img)[^>]* src=\"?([^\s\">]+)", path.read_text())
        loaded += re.findall(r"<link[^>]* href=\"?([^\s\">]+)", path.read_text())
        assert loaded
        assert not [address for address in loaded if address.startswith(("http", "//"))]


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of what the site is made from."""
    for name in ("docs", *(room for room in ROOMS if room not in ("tests", "docs"))):
        shutil.copytree(name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", *ROOT_PAGES):
        shutil.copy(name, tmp_path / name)
    return tmp_path


def test_a_broken_link_fails(project, tmp_path) -> None:
    with (project / "docs" / "data.md").open("a") as page:
        page.write("\n[nothing](nowhere.md)\n")
    done = build(project, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr


def test_a_key_without_docstring_fails(project, tmp_path) -> None:
    with (project / "data_prep" / "recipe.py").open("a") as module:
        module.write('\n\n@config\nclass More:\n    """More."""\n\n    key: int = 1\n')
    done = build(project, tmp_path / "site")
    assert done.returncode != 0
    assert "data_prep.recipe.More.key has no docstring" in done.stderr


def test_links_outside_the_site_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if not link.startswith(("http", "#")):
                assert (page.parent / link.partition("#")[0]).exists(), f"{page}: {link}"


def test_files_and_modules_that_are_named_exist() -> None:
    rooms = "|".join([*ROOMS, "maxtext_configs", "tests", "docs", "notebooks"])
    for page in PAGES:
        for name in re.findall(r"`([^`\n]+)`", page.read_text()):
            if re.fullmatch(rf"(?:{rooms})/[\w./-]*", name) and "NAME" not in name:
                assert Path(name).exists(), f"{page}: {name}"
            elif re.fullmatch(rf"(?:{rooms})(?:\.(?!json\b)\w+)+", name):
                assert importlib.util.find_spec(name) is not None, f"{page}: {name}"


def test_lines_are_short_outside_tables_and_commands() -> None:
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for line in prose.splitlines():
            assert len(line) <= 100 or line.startswith("|"), f"{page}: {line}"


def test_the_picture_and_the_table_of_imports_are_of_today() -> None:
    again = "run: .venv/bin/python -m docs.architecture"
    assert architecture.PICTURE.read_text() == architecture.svg(), again
    text = architecture.PAGE.read_text()
    assert architecture.page(text) == text, again
    assert all(f"`{room}`" in text for room in ROOMS)


def test_markdown_of_a_key() -> None:
    hooks = runpy.run_path("docs/hooks.py")
    key = hooks["Key"]("n", "int | None", None, "One ``a|b``\n    or two.")
    assert hooks["_row"](key, set()) == "| `n` | `int or None` | required | One `a\\|b` or two. |"


def test_habits_name_what_is_here() -> None:
    def read(path: str) -> dict[str, Any]:
        return yaml.safe_load(Path(path).read_text())

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    citation = read("CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    steps = read(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    assert steps[-1]["run"] == ".ci/run"
    assert steps[1]["with"]["python-version"] == Path(".python-version").read_text().strip()[:4]
    # Hooks that fetch nothing: the locked tools.
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert Path(hook["entry"].split()[0]).is_file()
