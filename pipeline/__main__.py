"""Command: run the stages of a pipeline one after the other, each by the command a user would type.

    python -m pipeline PIPELINE.yaml

The file names the run's folder and its stages. A finished stage is not run again; an interrupted
one is started again and continues by its own means. `stages/NAME.json` in the run's folder records
the command and what it took, `stages/NAME.log` holds what it printed.
"""

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import runner
from pipeline.config import Pipeline
from tinymathreason import cli, process
from tinymathreason.config import load


def main(argv: Sequence[str]) -> None:
    """Parse the command line and run the pipeline."""
    parser = argparse.ArgumentParser(
        prog="pipeline",
        description="Run a pipeline's stages, resuming where it was interrupted.",
    )
    parser.add_argument("pipeline", type=Path, help="YAML file; pipeline/configs has some")
    arguments = parser.parse_args(argv)
    pipeline = load(Pipeline, arguments.pipeline)
    # When make is killed it dies first: without this, the pipeline would go on unseen.
    if "MAKELEVEL" in os.environ:
        process.signal_at_parents_death(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _interrupt)
    runner.run(pipeline)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    cli.run(main)
