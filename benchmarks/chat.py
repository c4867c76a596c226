"""Command: measure how fast the server answers one user and several at once.

python -m benchmarks.chat [--device cuda|cpu] [--data DIR] [--model DIR] [--users 1,8,32]

Each line is one number of users who ask at the same time: the tokens a second of all together, and
the seconds until the last one of them sees a first token. Beside ``parallel`` equal to the users,
the last line answers one user after the other, which is as fast as one token of each in turn.
Without a model it makes one with random weights: the 1B model on a GPU, the quickstart's on a CPU.
"""

import argparse
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import chat_model
from benchmarks.corpus import HOME
from tinymathreason import cli
from tinymathreason.cli import InputError


def measure(
    engine: Any, questions: Sequence[str], users: int, new: int, limit: float
) -> dict[str, Any]:
    """The rates of ``users`` who ask at the same time for answers of ``new`` tokens."""
    from release.serving.decoding import GenerationRequest
    from release.serving.engine import Failure, Piece

    ended = threading.Semaphore(0)
    first: dict[int, float] = {}
    failures: list[str] = []
    started = time.perf_counter()

    def listener(user: int) -> Any:
        def listen(event: Any) -> None:
            first.setdefault(user, time.perf_counter() - started)
            if isinstance(event, Failure):
                failures.append(event.message)
            if not isinstance(event, Piece):
                ended.release()

        return listen

    before = engine.state()["generated"]
    jobs = []
    for user in range(users):
        ids = engine.encode([{"role": "user", "content": questions[user % len(questions)]}])
        jobs.append(engine.submit(GenerationRequest(ids, new), listener(user)))
    in_time = all(
        ended.acquire(timeout=max(0.0, started + limit - time.perf_counter())) for _ in jobs
    )
    seconds = time.perf_counter() - started
    tokens = engine.state()["generated"] - before
    for job in jobs:
        engine.cancel(job)
    if failures:
        raise InputError(failures[0])
    return {
        "users": users,
        "new_tokens": new,
        "ended_in_time": in_time,
        "seconds": round(seconds, 2),
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "tokens_per_second_of_a_user": round(tokens / seconds / users, 1),
        "last_first_token_seconds": round(max(first.values(), default=seconds), 3),
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure each number of users and print a line for it."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.chat", description="Measure how fast the server answers several users."
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--data", type=Path, help="the folder of `make realdata`")
    parser.add_argument("--model", type=Path, help="folder of a tuned model; default: a made one")
    parser.add_argument("--overlay", type=Path, help="sizes of the made model")
    parser.add_argument("--users", default="1,8,32", help="numbers of users at once, with commas")
    parser.add_argument("--new-tokens", type=int, help="longest answer; default: 256, or 32 on CPU")
    parser.add_argument("--limit", type=float, default=15, help="seconds of each number of users")
    parser.add_argument(
        "--home", type=Path, default=HOME / "chat", help="working folder; it is emptied"
    )
    arguments = parser.parse_args(argv)
    try:
        users = [int(number) for number in arguments.users.split(",")]
    except ValueError:
        parser.error(f"--users: expected numbers with commas (got {arguments.users!r})")
    common = {"benchmark": "chat", **chat_model.describe(arguments.device)}
    new = arguments.new_tokens or (256 if arguments.device == "cuda" else 32)
    with chat_model.opened(arguments, arguments.home.absolute()) as (model, questions):
        from release.serving.engine import Engine

        for number, parallel in [*((n, n) for n in users), (max(users), 1)]:
            engine = Engine.load(model, parallel, number)
            try:
                measure(engine, questions, 1, 2, arguments.limit)  # the first tokens are slow
                figures = measure(engine, questions, number, new, arguments.limit)
            except InputError as error:
                figures = {"users": number, "error": str(error)}
            engine.close()
            figures |= {"parallel": parallel, "peak_gb": chat_model.peak_gb(arguments.device)}
            print(json.dumps({**common, **figures}), flush=True)


if __name__ == "__main__":
    cli.run(main)
