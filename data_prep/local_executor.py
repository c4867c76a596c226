"""datatrove's local executor with Python's process pool, which reports a worker that was killed.

datatrove's own pool would wait for a killed worker forever.
"""

import contextlib
import copy
import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor

from tinymathreason.cli import InputError


class LocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]
    """Runs tasks in ``workers`` processes of this machine, or in this process if that is one."""

    def run(self) -> None:
        """Run the unfinished tasks; the first error ends the other workers.

        Raises `InputError` or `OSError` for what stopped a task, and `InputError` when a worker
        was killed.
        """
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                copy.deepcopy(self)._run_for_rank(rank)
            return
        # Forking this process would not be safe: a thread of it prints the progress.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["data_prep.executors"])
        others = multiprocessing.active_children()
        with _pool(self.workers, context) as pool:
            running: set[Future[None]] = set()
            try:
                for rank in ranks:
                    if len(running) == self.workers:
                        running = _wait_for_one(running)
                    with _interrupt_later():
                        running.add(pool.submit(_run_task, self, rank))
                while running:
                    running = _wait_for_one(running)
            except BaseException as error:
                for process in multiprocessing.active_children():
                    if process not in others:
                        process.terminate()
                if isinstance(error, BrokenProcessPool):
                    raise InputError(
                        "a worker was killed; out of memory? Run the same command again to "
                        "continue; executor.workers=1 needs the least memory"
                    ) from error
                raise


def _pool(workers: int, context: Any) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(workers, context, initializer=_start_worker)
    except PermissionError as error:
        # Of a semaphore, whose error names no file.
        raise InputError(
            "several workers need to write in /dev/shm, which is not allowed here; "
            "have its mode changed to 1777, or set executor.workers=1"
        ) from error


def _wait_for_one(running: set[Future[None]]) -> set[Future[None]]:
    """Wait until a task has finished; returns those that still run. Raises a task's error."""
    done, running = wait(running, return_when=FIRST_COMPLETED)
    for task in done:
        task.result()
    return running


@contextlib.contextmanager
def _interrupt_later() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, and block it in the processes started there.

    While they import, such processes would answer it with a traceback; the pool ends them instead.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    multiprocessing.resource_tracker.ensure_running()  # starting it unblocks signals
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _start_worker() -> None:
    """Prepare a worker process: it ignores Ctrl-C, and ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # someone else may have started the fork server
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_task(executor: LocalExecutor, rank: int) -> None:
    """Run one task in a worker; the executor is a copy of its own."""
    try:
        executor._run_for_rank(rank)
    except OSError as error:
        # Errors of remote systems cannot always be pickled.
        raise OSError(str(error)) from None
