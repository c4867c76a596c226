"""Runs upstream's trainer on its synthetic batch, several runs in one process.

python -m tests.support.train_runs RUNS.json

RUNS.json lists runs, each a mapping of MaxText's keys with its overlay under "overlay".
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(JAX_PLATFORMS="cpu", DECOUPLE_GCLOUD="TRUE")

COMMON = {
    "dataset_type": "synthetic",
    "hardware": "cpu",
    "dtype": "float32",
    "attention": "dot_product",
    "skip_jax_distributed_system": True,
    "jax_cache_dir": "",
    "log_config": False,
    "per_device_batch_size": 2,
    "learning_rate": 0.03,
    "warmup_steps_fraction": 0.0,
    "async_checkpointing": False,
    "enable_tensorboard": False,
}
"""A large rate, so that every weight moves far from its initial value."""

if __name__ == "__main__":
    from maxtext.trainers.pre_train import train

    for run in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        values = {**COMMON, **{key: value for key, value in run.items() if key != "overlay"}}
        train.main(["train", run["overlay"], *(f"{key}={value}" for key, value in values.items())])
