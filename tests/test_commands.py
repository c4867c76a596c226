"""Every command answers --help at once, and imports point one way."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOMS = {
    # Each room may import those before it.
    "tinymathreason": 0,
    "data_prep": 1,
    "pretrain": 2,
    "conversion": 3,
    "evaluation": 1,
    "sft": 4,
    "release": 5,
    "benchmarks": 6,
    "pipeline": 7,
}
HEAVY = {"torch", "jax", "transformers", "trl", "datasets", "matplotlib", "pyarrow", "tokenizers"}
COMMANDS = [
    str(path.with_suffix("")).replace("/", ".").removesuffix(".__main__")
    for room in ROOMS
    for path in sorted(Path(room).rglob("*.py"))
    if "__main__" in path.read_text() and path.name != "maxtext_train.py"
]


def test_the_commands_are_found() -> None:
    assert set(COMMANDS) >= {
        "data_prep.build",
        "conversion.to_hf",
        "conversion.to_maxtext",
        "conversion.verify",
        "conversion.inspect",
        "sft.prepare",
        "sft.run",
        "sft.grpo",
        "sft.preferences",
        "sft.dpo",
        "evaluation.run",
        "release.report",
        "pipeline",
    }


@pytest.mark.parametrize("command", [*COMMANDS, "maxtext.train"])
def test_help_needs_no_heavy_import(command: str) -> None:
    """What makes --help slow is importing frameworks: that they are not is exact, a time is not."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", command, "--help"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: {command}")
    imported = {
        line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines()
    }
    assert imported.isdisjoint(HEAVY)


def test_help_of_the_script() -> None:
    result = subprocess.run(
        ["bash", "data_prep/build_mixture.sh", "--help"], capture_output=True, text=True
    )
    assert result.stdout.startswith("usage: data_prep.build")


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_options_are_refused(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", command, "--no-such-option"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def imports(path: Path) -> set[str]:
    """The rooms that a module imports."""
    result = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            result |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            result.add((node.module or "").split(".")[0])
    return result & ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    for path in Path(room).rglob("*.py"):
        for other in imports(path) - {room}:
            assert ROOMS[other] < ROOMS[room], f"{path} imports {other}"


def modules() -> dict[str, Path]:
    """Every module of the rooms, by its name."""
    return {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): path
        for room in ROOMS
        for path in Path(room).rglob("*.py")
    }


def imported_modules(name: str, paths: dict[str, Path]) -> set[str]:
    """The modules of the rooms that a module imports, inside its functions too."""
    found = set()
    for node in ast.walk(ast.parse(paths[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside if inside <= paths.keys() else {node.module, *inside}
    return found & paths.keys() - {name}


def test_no_modules_import_one_another_in_a_circle() -> None:
    paths = modules()
    graph = {name: imported_modules(name, paths) for name in paths}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_modules_are_small_and_say_what_they_are() -> None:
    for room in ROOMS:
        for path in Path(room).rglob("*.py"):
            assert len(path.read_text().splitlines()) < 300, path
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for room in ROOMS:
        for path in sorted(Path(room).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(str(path))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def in_locale(path: Path) -> set[int]:
    """Lines of a module that read or write text in the encoding of the user's locale."""
    result = set()
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and "encoding" not in {word.arg for word in call.keywords}:
            name = ast.unparse(call.func).rpartition(".")
            words = {word.value for word in call.args if isinstance(word, ast.Constant)}
            text = words & {"r", "w", "a", "x", "rt", "wt", "at", "xt", "r+", "w+", "a+", "x+"}
            # A plain write_text is that of tinymathreason.files.
            if (name[1] and name[2] in ("read_text", "write_text")) or (name[2] == "open" and text):
                result.add(call.lineno)
    return result


def test_no_text_is_in_the_encoding_of_the_locale(tmp_path) -> None:
    for room in ROOMS:
        for path in Path(room).rglob("*.py"):
            assert not in_locale(path), path
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        'a.read_text()\n(a / "b").write_text("é")\nwith open(a, "w") as b: gzip.open(a, "rt")'
    )
    assert in_locale(wrong) == {1, 2, 3}


def test_importing_sft_loads_no_jax_and_conversion_neither_maxtext_nor_torch() -> None:
    for module, absent in (
        ("sft.run, sft.prepare, sft.session", {"jax", "maxtext"}),
        (
            "conversion.to_hf, conversion.to_maxtext, conversion.inspect, conversion.verify, "
            "conversion.export, conversion.checkpoint, conversion.parity",
            {"jax", "maxtext", "torch", "transformers"},
        ),
        ("evaluation.run, evaluation.tasks, evaluation.generate", {"jax", "maxtext"}),
    ):
        code = f"import sys, {module}; assert not {absent} & set(sys.modules)"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), module
