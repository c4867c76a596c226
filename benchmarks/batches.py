"""The batches that MaxText's trainer reads under an overlay, by upstream's own functions.

The calls are those of upstream's trainer, except for the wrapper that puts batches on devices.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.environment import on_cpu

Batch = dict[str, npt.NDArray[np.int32]]
"""``inputs``, ``targets`` and either's ``_segmentation`` and ``_position``: int32[batch, length].

Segments count the documents of a row from 1; 0 is padding. Positions start anew in each document.
"""


def batches(overlay: Path, overrides: Sequence[str] = ()) -> Iterator[Batch]:
    """Every batch of one host with one device, until the data ends, in the trainer's order.

    Importing upstream takes half a minute, and the data is opened at once, so that the first batch
    can be timed alone. Raises upstream's errors for files that are not there.
    """
    # Upstream's imports print, but the caller's output is for programs.
    with on_cpu(), contextlib.redirect_stdout(sys.stderr):
        from absl import flags
        from maxtext.configs import pyconfig
        from maxtext.input_pipeline import grain_data_processing as upstream

        # Grain's worker processes need absl's flags, which upstream's trainer has parsed.
        flags.FLAGS(["benchmarks"])
        config: Any = pyconfig.initialize(
            ["", str(overlay), *overrides],
            hardware="cpu",
            skip_jax_distributed_system=True,
            log_config=False,
        )
    documents = upstream.get_datasets(
        config.grain_train_files,
        config.grain_file_type,
        shuffle=config.enable_data_shuffling,
        shuffle_seed=config.data_shuffle_seed,
        shuffle_buffer_size=config.grain_shuffle_buffer_size,
        num_epoch=config.num_epoch,
        dataloading_host_index=0,
        dataloading_host_count=1,
        grain_worker_count=config.grain_worker_count,
        grain_num_threads=config.grain_num_threads,
        grain_prefetch_buffer_size=config.grain_prefetch_buffer_size,
        grain_data_source_max_workers=config.grain_data_source_max_workers,
        mixture_config_path=config.grain_train_mixture_config_path,
        grain_index_storage_option=config.grain_index_storage_option,
    )
    rows = upstream.pretrain_preprocessing_pipeline(
        documents,
        config,
        config.train_data_columns,
        config.tokenize_train_data,
        config.grain_worker_count,
        config.grain_per_worker_buffer_size,
    )
    return iter(rows)
