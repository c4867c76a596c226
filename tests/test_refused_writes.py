"""Every command that cannot write says so in one line, before its work, and leaves nothing."""

import importlib

import pytest

from tests.support import records
from tests.support.limits import unprivileged
from tinymathreason import cli

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

TUNING = """
model_name_or_path: {model}
sources:
  problems: {{format: arithmetic, examples: 12}}
activation_checkpointing: false
use_cpu: true
bf16: false
report_to: none
"""
RECIPE = """
output_dir: {output}
sources:
  a: {{format: generator, path: word_problems, weight: 1, documents: 10}}
tokenizer: {{train: {{vocab_size: 300}}}}
"""
PIPELINE = """
run: {output}
stages: {{one: "true"}}
report: []
next: "true"
"""
COMMANDS = {
    "data_prep.build": ["{home}/recipe.yaml"],
    "data_prep.reweight": ["{home}/mixture", "a=1", "--output", "{output}/mixture.json"],
    "conversion.to_maxtext": ["--model", "{model}", "--output", "{output}"],
    "evaluation.run": ["--model", "{home}/none", "--task", "arithmetic", "--output", "{output}"],
    "sft.prepare": ["--config", "{home}/tuning.yaml", "--output_dir", "{output}"],
    "sft.run": ["--config", "{home}/tuning.yaml", "--output_dir", "{output}"],
    "sft.preferences": ["--config", "{home}/tuning.yaml", "--output_dir={output}"],
    "sft.dpo": ["--config", "{home}/tuning.yaml", "output_dir={output}"],
    "sft.grpo": ["--config={home}/tuning.yaml", "rewards.format=1", "--output-dir", "{output}"],
    "pipeline.__main__": ["{home}/pipeline.yaml"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["read-only", "below a file"])
def test_where_nothing_can_be_written(tmp_path, capsys, model_dir, command: str, kind: str) -> None:
    (tmp_path / "read-only").mkdir()
    (tmp_path / "below a file").touch()
    places = {"home": tmp_path, "model": model_dir, "output": tmp_path / kind / "out"}
    for name, text in (("tuning", TUNING), ("recipe", RECIPE), ("pipeline", PIPELINE)):
        (tmp_path / f"{name}.yaml").write_text(text.format(**places))
    source = records.source(shards=[records.shard(path="a/train-0")])
    records.mixture(sources={"a": source}).write(tmp_path / "mixture/manifest.json")
    (tmp_path / "read-only").chmod(0o555)
    before = sorted(tmp_path.rglob("*"))
    main = importlib.import_module(command).main
    with unprivileged(), pytest.raises(SystemExit) as ended:
        cli.run(main, [word.format(**places) for word in COMMANDS[command]])
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (ended.value.code, len(message)) == (2, 1)
    assert f"{places['output']}" in message[0]
    words = {
        "read-only": ("Permission denied: ", "read-only is ", "have its permissions changed"),
        "below a file": ("Not a directory: ", "is a file, not a folder", "move it away"),
    }[kind]
    for part in words:
        assert part in message[0]
    assert sorted(tmp_path.rglob("*")) == before
