"""Writes parameters as a checkpoint that MaxText's trainer can restore, by Orbax."""

import contextlib
import io
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from conversion.environment import on_cpu


def tree(arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> dict[str, Any]:
    """Arrays by their dotted path, as MaxText's nested mapping of jax arrays."""
    with on_cpu():
        import jax.numpy as jnp

    root: dict[str, Any] = {}
    for path, array in arrays:
        *parents, last = path.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = jnp.asarray(array)
    return {"params": root}


def save(folder: Path, state: dict[str, Any], scanned: bool) -> None:
    """Write a training state, such as ``{"params": tree(...)}``, into an empty folder."""
    with on_cpu():
        import orbax.checkpoint.experimental.v1 as ocp

    # One large array is in flight at a time, not all of them.
    memory = ocp.options.MemoryOptions(
        write_concurrent_bytes=2**30, transfer_concurrent_bytes=2**30
    )
    # Orbax creates the folder that it writes.
    made = folder.resolve() / "step"
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # Orbax also logs the traceback of what it raises
    try:
        # Tensorstore does the same for writes that outlive Orbax's event loop.
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                with ocp.Context(memory_options=memory):
                    ocp.save_checkpointables(
                        made, {"items": state}, custom_metadata={"scan_layers": scanned}
                    )
            except BaseException:
                # Orbax raises at the first array that fails, while others are still being written:
                # a folder that is removed now would come back.
                logging.getLogger("asyncio").disabled = True  # it would log each one later
                _wait_until_still(folder)
                raise
    finally:
        logging.disable(before)
    for part in made.iterdir():
        part.replace(folder / part.name)
    made.rmdir()


def _wait_until_still(folder: Path, pause: float = 0.2, timeout: float = 60.0) -> None:
    """Return when nothing in ``folder`` has changed for ``pause`` seconds, or after ``timeout``."""
    deadline = time.monotonic() + timeout
    before, now = None, _state(folder)
    while now != before and time.monotonic() < deadline:
        time.sleep(pause)
        before, now = now, _state(folder)


def _state(folder: Path) -> set[tuple[Path, int, int]]:
    """The paths in a folder with their sizes and times; files that disappear are left out."""
    state = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            state.add((path, status.st_size, status.st_mtime_ns))
    return state
