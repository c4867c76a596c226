"""Every command of the documents is real: it gets as far as its first missing input."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_prep.recipe import Recipe
from pipeline.config import Pipeline
from pretrain import overlay
from tinymathreason.config import load

README = Path("README.md").read_text()
PAGES = [
    README,
    *(p.read_text() for p in [Path("CONTRIBUTING.md"), *sorted(Path("docs").glob("*.md"))]),
]


def lines(page: str, language: str) -> list[str]:
    """The lines of a page's blocks in a language."""
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


LINES = list(dict.fromkeys(line for page in PAGES for line in lines(page, "bash")))
CLIENTS = [line for page in PAGES for line in lines(page, "console")]
MAKEFILE = Path("Makefile").read_text()

FIRST_MISSING = {
    "smollm2_math.yaml": "no tokenizer.json there",
    "smollm2_135m.yml --tokenizer": "not a MaxText checkpoint",
    "smollm2_135m.yml": "no file runs/smollm2/mixture/mixture.json; build it first",
    "data_prep/build_mixture.sh": "cannot be listed",
    "data_prep.reweight": "runs/mixture",
    "--ladder runs": "it is written by pretrain.ladder fit",
    "pretrain.preflight": "'none' is not known",
    "pretrain.ladder fit": "no finished run",
    "pretrain.ladder": "has no manifest.json",
    "pretrain.launch": "must lie below the checkout",
    "pretrain.watch": "runs/pretrain/tinymathreason_1b: no such folder",
    "maxtext.train": "no file runs/mixture/mixture.json; build it first",
    "conversion.to_hf": "not a MaxText checkpoint",
    "conversion.verify": "not a MaxText checkpoint",
    "conversion.inspect": "not a MaxText checkpoint",
    "conversion.to_maxtext": "config.json: no such file",
    "sft.prepare": "no model there",
    "sft.run": "no model there",
    "sft.fit": "no model there",
    "sft.grpo": "no model there",
    "sft.dpo": "no model there",
    "sft.preferences": "no model there",
    "evaluation.run": "no config.json there",
    "evaluation.compare": "runs/evaluation/base",
    "release.contamination": "runs/mixture/manifest.json: no such file",
    "release.card": "runs/pretrain/base: no model there",
    "release.push": "runs/sft/model",
    "release.chat": "runs/sft/model",
}


def test_the_readme_is_short_and_starts_with_two_commands() -> None:
    assert LINES[:2] == ["make quickstart", "make test"]
    assert len(README.splitlines()) <= 200


def test_the_documents_have_commands() -> None:
    # So many that no block is missed.
    assert len(LINES) >= 50
    assert len(CLIENTS) == 5


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make")])
def test_make_targets_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    assert (
        subprocess.run(["make", "--dry-run", *line.split()[1:]], capture_output=True).returncode
        == 0
    )


MEASURING = (" benchmarks.", " pretrain.calibration", " pretrain.isolation")
"""Commands that take minutes: they are started with an argument that stops them."""
COMMANDS = [
    line
    for line in LINES
    if line.startswith(("python", "bash")) and not any(name in line for name in MEASURING)
]


@pytest.mark.filterwarnings("ignore")  # of the libraries, which a user's command shows too
@pytest.mark.parametrize("line", COMMANDS)
def test_commands_run_to_their_first_missing_input(line: str, tmp_path, monkeypatch, capfd) -> None:
    # In a folder with the project's files and nothing else: no data, no runs.
    for name in ("data_prep", "maxtext_configs", "pretrain", "sft"):
        (tmp_path / name).symlink_to(Path(name).resolve())
    words = shlex.split(line)
    if "pretrain.preflight" in line:
        words.append("--topology=none")  # nobody wants to compile it now
    status = run_in(tmp_path, words, monkeypatch)
    error = capfd.readouterr().err
    last = error.strip().splitlines()[-1]
    command = next(name for name in FIRST_MISSING if name in line)
    assert status == 2, error
    assert last.startswith("error: ")
    assert FIRST_MISSING[command] in last
    assert "Traceback" not in error


def run_in(folder: Path, words: list[str], monkeypatch) -> int:
    """The exit status of a command in a folder; Python's run in this process, which has torch."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if words[0] != "python":
        return subprocess.run(words, check=False).returncode
    assert words[1] == "-m"
    monkeypatch.setattr(sys, "argv", words[2:])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    return ended.value.code


@pytest.mark.parametrize("line", [x for x in LINES if any(name in x for name in MEASURING)])
def test_benchmarks_start(line: str) -> None:
    words = [sys.executable, *shlex.split(line)[1:], "--rounds=none"]
    result = subprocess.run(words, capture_output=True, text=True)
    # Imported, and stopped at the argument.
    assert re.match(r"usage: (benchmarks|pretrain)\.", result.stderr)


@pytest.mark.parametrize("line", CLIENTS)
def test_clients_have_the_options_they_are_given(line: str) -> None:
    program, *words = shlex.split(line)
    path = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None or any("llama.cpp/" in word for word in words):
        pytest.skip(f"{line.split()[0]}: not installed here")
    shown = subprocess.run([path, "--help"], capture_output=True, text=True).stdout
    assert all(word in shown for word in words if word.startswith("--"))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("pip")])
def test_extras_exist(line: str) -> None:
    import tomllib

    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in re.search(r"\[(.*)\]", line)[1].split(","):
        assert name in extras


def test_every_figure_is_filled_in() -> None:
    rows = [line for page in PAGES for line in page.splitlines() if line.startswith("|")]
    # The first cell is the row's name, which may be an abbreviation.
    cells = [cell.strip() for line in rows for cell in line.split("|")[2:-1]]
    assert not [cell for cell in cells if cell.isupper() and not re.search(r"\d", cell)]


def test_every_line_is_tested() -> None:
    programs = ("make", "python", "bash", "pip", "accelerate launch")
    assert all(line.startswith(programs) for line in LINES)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("accelerate")])
def test_accelerate_reads_its_configurations(line: str) -> None:
    from accelerate.commands.launch import launch_command_parser

    words = shlex.split(line)[2:]
    arguments = launch_command_parser().parse_args(words)
    assert arguments.module
    assert arguments.training_script == "sft.run"
    result = yaml.safe_load(Path(arguments.config_file).read_text())
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(arguments.config_file)
    assert loaded.num_processes == result["num_processes"] == 8


def test_every_recipe_loads() -> None:
    paths = sorted(Path("data_prep/recipes").glob("*.yaml"))
    assert len(paths) >= 3
    for path in paths:
        recipe = load(Recipe, path)
        assert sum(source.weight for source in recipe.sources.values()) == pytest.approx(1)


def test_pipelines_convert_the_last_step_of_their_overlay() -> None:
    for path in sorted(Path("pipeline/configs").glob("*.yaml")):
        pipeline = load(Pipeline, path)
        if "conversion" not in pipeline.stages:
            continue  # it begins with the model of another one
        words = shlex.split(pipeline.stages["conversion"])
        step_dir = Path(words[words.index("--checkpoint") + 1])
        config = overlay.load(words[words.index("--config") + 1])
        assert int(step_dir.name) == config["steps"] - 1
        assert step_dir.parent.parent == Path(config["base_output_directory"], config["run_name"])
        recipe = load(Recipe, shlex.split(pipeline.stages["data"])[2])
        assert f"{recipe.output_dir}/mixture.json" == config["grain_train_mixture_config_path"]
        if recipe.tokenizer.train:
            assert recipe.tokenizer.train.vocab_size == config["vocab_size"]
        else:
            begun = Path(config["load_parameters_path"]).parent
            assert pipeline.stages["to_maxtext"].endswith(f"--output {begun}")
            assert recipe.tokenizer.path == begun / "tokenizer"


def test_readme_and_overlay_agree_on_the_last_step() -> None:
    config = overlay.load("maxtext_configs/tinymathreason_1b_v4_32.yml")
    assert f"checkpoints/{config['steps'] - 1} " in README


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of TRL's own defaults
def test_sft_configurations_hold_no_unknown_key(tmp_path) -> None:
    from sft.config import DpoData, GrpoData, SftData
    from sft.settings import parse

    kinds = {"rewards": (GrpoData, "GRPOConfig"), "sampling": (DpoData, "DPOConfig")}
    (shown,) = re.findall(r"```yaml\n(.*?)```", Path("docs/open-model.md").read_text(), re.DOTALL)
    (tmp_path / "shown.yaml").write_text(shown)
    for path in [*sorted(Path("sft/configs").glob("*.yaml")), tmp_path / "shown.yaml"]:
        values = yaml.safe_load(path.read_text())
        (tmp_path / "model").mkdir(exist_ok=True)
        ours, trainer = next(
            (k for key, k in kinds.items() if key in values), (SftData, "SFTConfig")
        )
        model = ["--model_name_or_path", str(tmp_path / "model")]
        settings = parse(path, model, ours, trainer)
        assert settings.training.learning_rate == float(values["learning_rate"])


def test_rooms_are_listed() -> None:
    for path in sorted(Path().iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            assert f"`{path.name}/`" in README
    assert "`maxtext_configs/`" in README
