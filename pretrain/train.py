"""Command: train with upstream MaxText, after checks that take a second and not a minute.

python -m maxtext.train OVERLAY.yml [key=value ...]

Exit status: 0 only when the last step is saved; 75 when the run was told to end (SIGTERM), saved
and stopped before; 2 for wrong input, also for data that ran out; 1 after a crash.
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

from pretrain import mixture, overlay, run
from tinymathreason import vocabulary
from tinymathreason.cli import InputError
from tinymathreason.writes import check_room

PREEMPTED = 75
"""Exit status of a run that saved and stopped before its last step: sysexits.h's EX_TEMPFAIL."""
SECONDS = 5.0
"""Between two looks for the first checkpoint."""


def check_inputs(config: dict[str, Any]) -> None:
    """Raise `InputError` for what MaxText would stumble over a minute later, or learn wrongly from.

    A tokenizer in a bucket is upstream's to open.
    """
    if not config["run_name"] or not config["base_output_directory"]:
        raise InputError("run_name and base_output_directory must be set")
    if config["dataset_type"] != "grain":
        return
    path = config[mixture.MIXTURE]
    if path and not Path(path).is_file():
        # Upstream opens it as a local file; the records that it names may lie in a bucket.
        raise InputError(
            f"{mixture.MIXTURE}: no file {path}; "
            "build it first: bash data_prep/build_mixture.sh RECIPE.yaml"
        )
    tokenizer = str(config["tokenizer_path"])
    if config["tokenizer_type"] == "huggingface" and "://" not in tokenizer:
        # Conversion asks for the same: better to be told before the run than after it.
        vocabulary.check_size(Path(tokenizer), config["vocab_size"])


class FirstSave(threading.Thread):
    """Checks the run's first checkpoint when it is complete, while training goes on.

    Upstream would save half a model for weeks without a word.
    """

    def __init__(self, config: dict[str, Any], fail: Callable[[InputError], None]) -> None:
        """``fail`` is called, in this thread, with what is wrong with the checkpoint."""
        super().__init__(name="first save", daemon=True)
        self._config = config
        self._fail = fail
        self._ended = threading.Event()

    def run(self) -> None:
        """Look every few seconds, and once more when training has ended."""
        ended = False
        while not self._checked(ended) and not ended:
            ended = self._ended.wait(SECONDS)

    def close(self) -> None:
        """Tell that training has ended, and wait until the check is done."""
        self._ended.set()
        self.join()

    def _checked(self, ended: bool) -> bool:
        """Whether there was a checkpoint to check; what is wrong with it is told."""
        try:
            saved = run.checkpoints(self._config)[-1:]
            for step in saved:
                run.check_layers(self._config, step)
        except (run.UnreadableError, OSError) as error:
            # Upstream may be removing it as an old one, or a bucket may not answer: look again.
            if ended:
                self._fail(InputError(f"the first checkpoint was never checked: {error}"))
            return False
        except InputError as error:
            self._fail(error)
        return bool(saved)


@contextlib.contextmanager
def alone(config: dict[str, Any]) -> Iterator[None]:
    """Make a single CPU or GPU machine notice SIGTERM in the block, so that it saves and stops.

    jax tells upstream of the signal only in its distributed runtime, which upstream starts where a
    launcher's variables are set, or on a TPU. This starts it for one process, on a port of its own.
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
        # At exit its log would hide the one line that tells what is wrong.
        jax.distributed.shutdown()


def train(path: Path, overrides: Sequence[str]) -> None:
    """Train as the overlay says, from the last checkpoint if there is one, and end the process.

    A run whose last step is saved returns at once. Importing upstream alone takes half a minute.
    Raises `InputError` for wrong input, and when upstream returns before the last step.
    """
    # Without this key upstream stops on SIGTERM all the same, but does not save.
    arguments = [*overrides, "enable_autocheckpoint=true"]
    config = overlay.load(path, arguments)
    check_inputs(config)
    directory = run.run_directory(config)
    on_cpu = config["hardware"] == "cpu"
    # What a launcher tells upstream on CPU; elsewhere the number is known when jax has started.
    run.check_owner(config, int(os.environ.get("JAX_PROCESS_COUNT", "1")) if on_cpu else None)
    saved = run.checkpoints(config)
    if saved and saved[-1] >= run.last_step(config):
        print(f"{directory}: the last step, {saved[-1]}, is saved; nothing is left to do")
        return
    for step in saved[-1:]:
        run.check_layers(config, step)
    if on_cpu:
        # Without it, jax looks for a TPU for ten seconds. DECOUPLE_GCLOUD would save ten more, but
        # with it upstream writes no TensorBoard events.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    mixture.check(config)
    if "://" not in config["base_output_directory"]:
        check_room(Path(directory))
        # Orbax refuses relative folders.
        output = Path(config["base_output_directory"]).resolve()
        arguments.append(mixture.argument("base_output_directory", str(output)))

    from absl import app

    with tempfile.TemporaryDirectory() as folder, alone(config):
        arguments += mixture.arguments(config, Path(folder))
        app.run(functools.partial(_train, config), argv=["maxtext.train", str(path), *arguments])


def _train(config: dict[str, Any], argv: Sequence[str]) -> int:
    """Upstream's main, with the records before and after it; the exit status."""
    import jax
    from jax.experimental import multihost_utils

    upstream = _upstream(config)
    resolved, recorder = upstream.initialize(argv)
    run.check_owner(config, jax.process_count(), jax.device_count())
    start = None
    if jax.process_index() == 0:
        run.set_aside_incomplete(config)
        start = run.Start(
            config, jax.process_count(), jax.device_count(), jax.devices()[0].device_kind
        )
    if jax.process_count() > 1:
        # The others must not see what is being set aside.
        multihost_utils.sync_global_devices("run directory")
    with recorded(config, start):
        upstream.record_goodput(recorder, upstream.RECORD_JOB_START_TIME)
        with upstream.maybe_monitor_goodput(resolved):
            upstream.get_train_func(resolved, recorder, argv)()
    saved = run.checkpoints(config)
    preempted = bool(saved) and multihost_utils.reached_preemption_sync_point(saved[-1])
    return outcome(config, start, saved, preempted)


def _upstream(config: dict[str, Any]) -> Any:
    """Upstream's module of the trainer.

    On a CPU that writes to its own disk it is imported without the clients of Google's cloud, by
    upstream's own switch: they take three tenths of the half minute. Afterwards the switch is as
    before, since with it upstream would write no TensorBoard events.
    """
    switch, local = "DECOUPLE_GCLOUD", "://" not in config["base_output_directory"]
    spared = config["hardware"] == "cpu" and local and not config["use_vertex_tensorboard"]
    if spared and switch not in os.environ:
        from maxtext.common import gcloud_stub  # noqa: F401  # it looks for TensorBoard's writer

        os.environ[switch] = "TRUE"
        try:
            from maxtext.trainers.pre_train import train
        finally:
            del os.environ[switch]
    else:
        from maxtext.trainers.pre_train import train
    return train


@contextlib.contextmanager
def recorded(config: dict[str, Any], start: run.Start | None) -> Iterator[None]:
    """Train in the block: its first checkpoint is checked, and its failure recorded.

    ``start`` is None on the hosts that record nothing. An OSError comes out as a RuntimeError: in
    training it is a crash, not the user's slip as which `cli.run` would tell it.
    """
    first_save = FirstSave(config, functools.partial(stop, start)) if start else None
    if first_save:
        first_save.start()
    try:
        yield
    except BaseException as error:
        if start:
            start.end(f"failed: {type(error).__name__}: {error}")
        if isinstance(error, OSError):
            raise RuntimeError(f"training failed: {error}") from error
        raise
    if first_save:
        first_save.close()


def stop(start: run.Start, error: InputError) -> None:
    """End the process in one line: upstream's loop cannot be told to, and would save as wrongly."""
    start.end(f"failed: {error}")
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(2)


def outcome(
    config: dict[str, Any], start: run.Start | None, saved: Sequence[int], preempted: bool
) -> int:
    """The exit status of a training that returned, recorded in ``start``.

    Upstream returns after the last step, after a preemption's save, and when the data ran out or
    could not be read; the last is an `InputError`.
    """
    finished = bool(saved) and saved[-1] >= run.last_step(config)
    if start:
        start.end("finished" if finished else "preempted" if preempted else "ended early")
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
        prog="maxtext.train", description="Train with upstream MaxText, driven by an overlay."
    )
    parser.add_argument("overlay", type=Path, help="YAML file; maxtext_configs has some")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace MaxText's value")
    arguments = parser.parse_args(argv)
    train(arguments.overlay, arguments.overrides)
