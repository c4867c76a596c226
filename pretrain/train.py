"""Command: train with MaxText, after checks that find wrong input within a second.

python -m maxtext.train OVERLAY.yml [--blocks search] [--key value ...]

Exit status: 0 when the last step is saved; 75 when a SIGTERM made the run save and stop before its
last step; 2 for wrong input, which includes data that ran out; 1 after a crash.
"""

import argparse
import contextlib
import functools
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pretrain import attention, blocks, mixture, overlay, padding, run, start, xla_flags
from tinymathreason import vocabulary
from tinymathreason.arguments import parse_arguments
from tinymathreason.cli import InputError
from tinymathreason.writes import check_room

PREEMPTED = 75
"""Exit status of a run that saved and stopped before its last step: EX_TEMPFAIL of sysexits.h."""
POLL_SECONDS = 5.0
"""Seconds between two checks for the first checkpoint."""


def check_inputs(config: dict[str, Any]) -> None:
    """Raise `InputError` for mistakes that MaxText would report a minute later, or not at all.

    A tokenizer in a bucket is not checked here; MaxText opens it.
    """
    if not config["run_name"] or not config["base_output_directory"]:
        raise InputError("run_name and base_output_directory must be set")
    attention.check(config)
    if config["dataset_type"] != "grain":
        return
    path = config[mixture.MIXTURE]
    if path and not Path(path).is_file():
        # MaxText opens it as a local file; the records that it names may lie in a bucket.
        raise InputError(
            f"{mixture.MIXTURE}: no file {path}; "
            "build it first: bash data_prep/build_mixture.sh RECIPE.yaml"
        )
    tokenizer = str(config["tokenizer_path"])
    if config["tokenizer_type"] == "huggingface" and "://" not in tokenizer:
        # Conversion checks this too, but only after the run. An open model may have more rows.
        going_on = bool(config[start.KEY])
        vocabulary.check_size(Path(tokenizer), config["vocab_size"], may_be_smaller=going_on)


class FirstCheckpointCheck(threading.Thread):
    """Checks the run's first complete checkpoint while training continues.

    MaxText would not notice if its checkpoints lacked part of the model.
    """

    def __init__(self, config: dict[str, Any], fail: Callable[[InputError], None]) -> None:
        """``fail`` is called in this thread with the error when the checkpoint is wrong."""
        super().__init__(name="first checkpoint check", daemon=True)
        self._config = config
        self._fail = fail
        self._ended = threading.Event()

    def run(self) -> None:
        """Check every `POLL_SECONDS`, and once more when training has ended."""
        ended = False
        while not self._checked(ended) and not ended:
            ended = self._ended.wait(POLL_SECONDS)

    def close(self) -> None:
        """Signal that training has ended, and wait until the check is done."""
        self._ended.set()
        self.join()

    def _checked(self, ended: bool) -> bool:
        """Whether there was a checkpoint to check; reports an error in it."""
        try:
            saved = run.checkpoints(self._config)[-1:]
            for step in saved:
                run.check_parameters(self._config, step)
        except (run.UnreadableError, OSError) as error:
            # MaxText may be removing an old checkpoint, or the bucket may not answer: try again.
            if ended:
                self._fail(InputError(f"the first checkpoint could not be checked: {error}"))
            return False
        except InputError as error:
            self._fail(error)
        return bool(saved)


@contextlib.contextmanager
def handled_sigterm(config: dict[str, Any]) -> Iterator[None]:
    """Let training on a single CPU or GPU machine save and stop after a SIGTERM.

    MaxText learns of the signal from jax's distributed runtime, which it starts only on a TPU or
    when a launcher has set its variables. This starts the runtime for one process on a free port.
    """
    launched = {"JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_IP"} & os.environ.keys()
    if config["hardware"] not in ("cpu", "gpu") or launched or not config["enable_checkpointing"]:
        yield
        return
    import jax

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    jax.distributed.initialize(
        address,
        num_processes=1,
        process_id=0,
        cluster_detection_method="deactivate",
        coordinator_bind_address=address,
    )
    try:
        yield
    finally:
        # Not at exit, where its log would follow, and hide, the one line of an error.
        jax.distributed.shutdown()


def train(path: Path, overrides: Sequence[str], block_sizes: str = blocks.MODES[0]) -> None:
    """Train with an overlay, from the last checkpoint if there is one, and end the process.

    ``block_sizes`` is one of `blocks.MODES`.

    Returns at once when the last step is saved already. Importing MaxText takes half a minute.
    Raises `InputError` for wrong input, and when MaxText returns before the last step.
    """
    # Without this key MaxText stops on SIGTERM without saving.
    arguments = [*overrides, "enable_autocheckpoint=true"]
    config = overlay.load(path, arguments)
    check_inputs(config)
    directory = run.run_directory(config)
    on_cpu = config["hardware"] == "cpu"
    # On CPU a launcher sets the number of hosts; elsewhere it is known once jax has started.
    run.check_resumable(config, int(os.environ.get("JAX_PROCESS_COUNT", "1")) if on_cpu else None)
    saved = run.checkpoints(config)
    if saved and saved[-1] >= run.last_step(config):
        print(f"{directory}: the last step, {saved[-1]}, is saved; nothing is left to do")
        return
    for step in saved[-1:]:
        run.check_parameters(config, step)
    if not saved:
        start.check(config)
    if config["hardware"] != "tpu":
        # Otherwise jax searches for a TPU for ten seconds.
        os.environ.setdefault("JAX_PLATFORMS", "cpu" if on_cpu else "cuda,cpu")
    arguments += xla_flags.applied(config)
    mixture.check(config)
    if "://" not in config["base_output_directory"]:
        check_room(Path(directory))
        # Orbax refuses relative folders.
        output = Path(config["base_output_directory"]).resolve()
        arguments.append(mixture.argument("base_output_directory", str(output)))
    if config[start.KEY] and "://" not in config[start.KEY]:
        weights = Path(config[start.KEY]).resolve()
        arguments.append(mixture.argument(start.KEY, str(weights)))

    from absl import app

    with tempfile.TemporaryDirectory() as folder, handled_sigterm(config):
        arguments += mixture.arguments(config, Path(folder))
        arguments += padding.arguments(config, Path(folder))
        app.run(
            functools.partial(_train, config, block_sizes),
            argv=["maxtext.train", str(path), *arguments],
        )


def _train(config: dict[str, Any], block_sizes: str, argv: Sequence[str]) -> int:
    """Run MaxText's main function and record the start and the end; the exit status."""
    import jax
    from jax.experimental import multihost_utils

    trainer = _trainer(config)
    resolved, recorder = trainer.initialize(argv)
    run.check_resumable(config, jax.process_count(), jax.device_count())
    attention.check_cards(config, jax.device_count(), f"{jax.device_count()} (see nvidia-smi)")
    writer = None
    if jax.process_index() == 0:
        run.set_aside_incomplete(config)
        writer = run.StartWriter(
            config,
            jax.process_count(),
            jax.device_count(),
            jax.devices()[0].device_kind,
            weights=None if run.checkpoints(config) else start.record(config),
        )
    if jax.process_count() > 1:
        # The other hosts must not see checkpoints that are being renamed.
        multihost_utils.sync_global_devices("run directory")
    with recorded(config, writer), blocks.chosen(config, block_sizes):
        trainer.record_goodput(recorder, trainer.RECORD_JOB_START_TIME)
        with trainer.maybe_monitor_goodput(resolved):
            trainer.get_train_func(resolved, recorder, argv)()
    saved = run.checkpoints(config)
    preempted = bool(saved) and multihost_utils.reached_preemption_sync_point(saved[-1])
    return exit_status(config, writer, saved, preempted)


def _trainer(config: dict[str, Any]) -> Any:
    """MaxText's trainer module.

    For a CPU and a local output directory it is imported with MaxText's switch DECOUPLE_GCLOUD,
    which leaves out the Google Cloud clients and saves ten seconds. The switch is removed after the
    import, because with it MaxText writes no TensorBoard events.
    """
    switch, local = "DECOUPLE_GCLOUD", "://" not in config["base_output_directory"]
    spared = config["hardware"] == "cpu" and local and not config["use_vertex_tensorboard"]
    if spared and switch not in os.environ:
        from maxtext.common import gcloud_stub  # noqa: F401  # it needs TensorBoard's writer

        os.environ[switch] = "TRUE"
        try:
            from maxtext.trainers.pre_train import train
        finally:
            del os.environ[switch]
    else:
        from maxtext.trainers.pre_train import train
    return train


@contextlib.contextmanager
def recorded(config: dict[str, Any], writer: run.StartWriter | None) -> Iterator[None]:
    """Check the first checkpoint of the training in the block, and record its failure.

    ``writer`` is None on hosts that write no record. An OSError is raised as a RuntimeError: during
    training it is a crash, and `cli.run` must not report it as wrong input.
    """
    check = FirstCheckpointCheck(config, functools.partial(exit_now, writer)) if writer else None
    if check:
        check.start()
    try:
        yield
    except BaseException as error:
        if writer:
            writer.end(f"failed: {type(error).__name__}: {error}")
        if isinstance(error, OSError):
            raise RuntimeError(f"training failed: {error}") from error
        raise
    if check:
        check.close()


def exit_now(writer: run.StartWriter, error: InputError) -> None:
    """End the process with a one-line error, because MaxText's training loop cannot be stopped."""
    writer.end(f"failed: {error}")
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(2)


def exit_status(
    config: dict[str, Any], writer: run.StartWriter | None, saved: Sequence[int], preempted: bool
) -> int:
    """The exit status of a training that returned; also records the outcome in ``writer``.

    MaxText returns after the last step, after saving because of a preemption, and when the data
    ran out or could not be read. The last case raises `InputError`.
    """
    finished = bool(saved) and saved[-1] >= run.last_step(config)
    if writer:
        writer.end("finished" if finished else "preempted" if preempted else "ended early")
    if finished:
        return 0
    if preempted:
        return PREEMPTED
    raise InputError(
        f"{run.run_directory(config)}: training ended before step {run.last_step(config)}; the "
        f"last checkpoint is {saved[-1] if saved else 'none'}; the reason is logged above"
    )


def main(argv: Sequence[str]) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        prog="maxtext.train", description="Train with MaxText, configured by an overlay."
    )
    parser.add_argument("overlay", type=Path, help="YAML file, such as one of maxtext_configs")
    parser.add_argument(
        "--blocks",
        choices=blocks.MODES,
        default=blocks.MODES[0],
        help="block sizes of the attention kernel on a GPU",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="--key value", help="override a MaxText key"
    )
    arguments = parse_arguments(parser, argv)
    train(arguments.overlay, arguments.overrides, arguments.blocks)
