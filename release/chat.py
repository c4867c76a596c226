"""Command: serve a page for questions to a model, and an OpenAI-compatible endpoint.

python -m release.chat --model DIR [--host 127.0.0.1] [--port 8000] [--served-model-name NAME]
"""

import argparse
import asyncio
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinymathreason import cli
from tinymathreason.cli import InputError

SEND_BUFFER = 131_072
"""Bytes of an answer that the system buffers for a client that does not read it."""
OTHERS = 100
"""Connections that may be open in addition to those whose requests are answered or wait."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the server. `InputError` names the flag of a wrong value."""

    model: Path
    """Folder of a chat model, or ORG/NAME[@REVISION] of one on the hub."""
    name: str = ""
    """The model's name; by default that of its folder."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 8000
    """Port to listen at; 0 for any free one."""
    hosts: Sequence[str] = ()
    """Further names of the server; ``*`` is any."""
    origins: Sequence[str] = ()
    """Web sites whose pages may send requests, like ``http://localhost:3000``; ``*`` is any."""
    parallel: int = 2
    """Requests answered at a time."""
    queue: int = 8
    """Further requests that may wait."""
    max_tokens: int = 1024
    """Most tokens of an answer."""

    def __post_init__(self) -> None:
        for flag, value, least, most in (
            ("--port", self.port, 0, 65_535),
            ("--parallel", self.parallel, 1, 64),
            ("--queue", self.queue, 0, 10_000),
            ("--max-new-tokens", self.max_tokens, 1, 1_000_000),
        ):
            if not least <= value <= most:
                raise InputError(f"{flag}: expected {least} to {most} (got {value})")
        for host in self.hosts:
            if not re.fullmatch(r"\*|[^\s/@:*]+", host):
                raise InputError(
                    f"--allowed-hosts: expected a name without a port, or * (got {host!r})"
                )
        for origin in self.origins:
            if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^\s/A-Z*]+", origin):
                raise InputError(
                    "--allowed-origins: expected one like http://localhost:3000, or * "
                    f"(got {origin!r})"
                )


def name_of(folder: Path) -> str:
    """The default name of a model: its run and stage if it has them, else its folder.

    ``runs/quickstart/sft/model`` is ``quickstart-sft``, and ``ORG/NAME@REVISION`` is ``NAME``, also
    as the hub's cache has it.
    """
    parts = folder.resolve().parts[1:]
    if len(parts) > 2 and parts[-2] == "snapshots":
        return parts[-3].rpartition("--")[2]
    if len(parts) > 1 and parts[-1] == "model":
        parts = parts[:-1]
    within = parts[len(parts) - parts[::-1].index("runs") :] if "runs" in parts else ()
    name = "-".join(within or parts[-1:]) or "model"
    return name if folder.exists() else name.partition("@")[0]


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; `InputError` when the address or the port is not available."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server((str(address[0]), port), family=family)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise InputError(f"--host {host!r} --port {port}: {reason}; choose another one") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # its clients' too
    return listening


def serve(options: Options) -> None:
    """Serve until a signal ends the process; prints where.

    Raises `InputError` for a wrong model or port.
    """
    host = options.host
    # Before the model is loaded, so that a port in use is reported at once.
    with bind(host, options.port) as listening:
        import uvicorn

        from evaluation.model import folder
        from release.serving.connections import Config, Limits
        from release.serving.engine import Engine
        from release.serving.guard import loopback
        from release.serving.server import make_app

        model = folder(str(options.model))
        engine = Engine.load(model, options.parallel, options.queue)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                # It ends the streams, for which uvicorn would wait.
                await asyncio.to_thread(engine.close)
                await super().shutdown(sockets)

        name = options.name or name_of(options.model)
        app = make_app(engine, name, options.max_tokens, host, options.hosts, options.origins)
        limits = Limits(connections=options.parallel + options.queue + OTHERS)
        server = Server(Config(app, limits))
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        print(f"Ask it: {url}\nOpenAI-compatible endpoint: {url}/v1", flush=True)
        if not loopback(host):
            print(
                f"warning: anyone who can reach {host} can send requests, unencrypted",
                file=sys.stderr,
            )
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            print("stopped")
        finally:
            engine.close()


def main(argv: Sequence[str]) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="release.chat",
        description="Serve a page and an endpoint for questions to a model.",
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="its folder, or ORG/NAME[@REVISION]")
    add("--host", default=Options.host, help="address to listen at; this machine's")
    add("--port", type=int, default=Options.port, help="port to listen at; 0: any free one")
    add(
        "--served-model-name", dest="name", default=Options.name, metavar="NAME",
        help="the model's name; default: its run and stage",
    )  # fmt: skip
    add(
        "--allowed-hosts", dest="hosts", nargs="+", default=Options.hosts, metavar="NAME",
        help="further names of the server, for example behind a proxy; *: any",
    )  # fmt: skip
    add(
        "--allowed-origins", dest="origins", nargs="+", default=Options.origins, metavar="ORIGIN",
        help="web sites whose pages may send requests, like http://localhost:3000; *: any",
    )  # fmt: skip
    add("--parallel", type=int, default=Options.parallel, help="requests answered at a time")
    add("--queue", type=int, default=Options.queue, help="further requests that may wait")
    add(
        "--max-new-tokens", dest="max_tokens", type=int, default=Options.max_tokens,
        metavar="MAX_NEW_TOKENS", help="most tokens of an answer",
    )  # fmt: skip
    serve(Options(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    cli.run(main)
