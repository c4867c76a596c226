"""Command: serve a page to ask a model at, and an OpenAI-compatible endpoint beside it.

python -m release.chat --model DIR [--host 127.0.0.1] [--port 8000] [--parallel 2] [--queue 8]
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tinymathreason import cli
from tinymathreason.cli import InputError


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; `InputError` when the address or the port cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except (OSError, UnicodeError) as error:
        said = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise InputError(f"--host {host!r} --port {port}: {said}; choose another one") from error


def serve(model: Path, host: str, port: int, parallel: int, queue: int, max_tokens: int) -> None:
    """Serve until a signal ends the process; prints where. `InputError` for a wrong model or port.

    ``parallel`` requests are answered at a time, ``queue`` more may wait, and an answer has at most
    ``max_tokens`` tokens.
    """
    # Before the model is loaded: a port in use is told at once.
    with bind(host, port) as listening:
        import uvicorn

        from release.serving.engine import Engine
        from release.serving.guard import loopback
        from release.serving.server import make_app

        engine = Engine.load(model, parallel, queue)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                # Streams that are told so end by themselves; uvicorn would wait for them.
                await asyncio.to_thread(engine.close)
                await super().shutdown(sockets)

        app = make_app(engine, str(model), max_tokens, host)
        # The second is for clients that do not read what they are told.
        server = Server(
            uvicorn.Config(
                app, log_level="warning", timeout_graceful_shutdown=1, server_header=False
            )
        )
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listening.getsockname()[1]}"
        print(f"Ask it: {url}\nOpenAI-compatible endpoint: {url}/v1", flush=True)
        if not loopback(host):
            print(f"warning: anyone who can reach {host} can ask, unencrypted", file=sys.stderr)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            print("stopped")
        finally:
            engine.close()


def main(argv: Sequence[str]) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="release.chat", description="Serve a page and an endpoint to ask a model at."
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a chat model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; this machine's")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at; 0: any free one")
    parser.add_argument("--parallel", type=int, default=2, help="requests answered at a time")
    parser.add_argument("--queue", type=int, default=8, help="further requests that may wait")
    parser.add_argument(
        "--max-new-tokens", type=int, default=1024, help="most tokens that an answer may have"
    )
    arguments = parser.parse_args(argv)
    for name, value, least, most in (
        ("--port", arguments.port, 0, 65_535),
        ("--parallel", arguments.parallel, 1, 64),
        ("--queue", arguments.queue, 0, 10_000),
        ("--max-new-tokens", arguments.max_new_tokens, 1, 1_000_000),
    ):
        if not least <= value <= most:
            raise InputError(f"{name}: expected {least} to {most} (got {value})")
    serve(
        arguments.model, arguments.host, arguments.port, arguments.parallel, arguments.queue,
        arguments.max_new_tokens,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
