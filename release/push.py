"""Command: check a model's folder and publish it on the Hugging Face hub.

python -m release.push --model DIR --repo ORG/NAME [--private] [--dry-run]
"""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from tinymathreason import cli, disk
from tinymathreason.cli import InputError
from tinymathreason.files import whole

STALE = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]
"""Files of an earlier push that must not stay beside other weights."""


def check(folder: Path, parity: Path | None) -> dict[str, int]:
    """Print what each check finds; the files to send, with their bytes.

    Raises `InputError` when a check refuses the folder, after all results are printed.
    """
    from release.checks import folder as checks

    refused = 0
    for finding in checks.findings(folder, parity):
        for line in finding.lines():
            print(line, flush=True)
        refused += len(finding.problems)
    if refused:
        raise InputError(
            f"{folder}: {refused} problem{'s' * (refused > 1)}, listed above; nothing was sent"
        )
    return {path.name: path.stat().st_size for path in whole(folder)}


def push(folder: Path, repo: str, names: Sequence[str], private: bool) -> str:
    """Send these files of a checked folder to the hub as one commit; returns the commit's address.

    The repository is created when it does not exist; the visibility of an existing one is kept. A
    repeated push does not upload again what an interrupted one has uploaded. Raises `InputError`
    for what the hub or the network refuses.
    """
    from huggingface_hub import HfApi, ModelCard, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    from release.checks.folder import CARD
    from tinymathreason.provenance import model_hash

    with _reaching(repo):
        if get_token() is None:
            raise InputError("no token for the hub: run hf auth login, or set HF_TOKEN")
        api = HfApi()
        try:
            existing = api.model_info(repo)
        except RepositoryNotFoundError:
            existing = None
        if existing and private and not existing.private:
            raise InputError(
                f"{repo}: exists and is public; make it private on the hub, or omit --private"
            )
        if existing and existing.private and not private:
            print(f"{repo} is private, and stays private")
        ModelCard((folder / CARD).read_text(encoding="utf-8")).validate()
        # None keeps the default of the owner.
        api.create_repo(repo, private=True if private else None, exist_ok=True)
        # The hub's own upload makes several commits only of hundreds of files.
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(names),
            delete_patterns=STALE,
            commit_message=f"SHA-256 of configuration and weights {model_hash(folder)}",
        )
    return str(commit.commit_url)


@contextlib.contextmanager
def _reaching(repo: str) -> Iterator[None]:
    """Turn refusals of the hub and failures of the network into one line."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, httpx2.HTTPError) as error:
        # The upload of a large file wraps the hub's error.
        cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        reason = disk.explain(cause) if isinstance(cause, OSError) else str(cause)
        reason = " ".join(reason.split())
        if status == 401:
            reason = "the hub does not accept the token (401): run hf auth login, or set HF_TOKEN"
        elif status == 403:
            reason = "the token may not write there (403): use one with write access"
        elif status is not None and status >= 500:
            reason = f"the hub fails ({status}); run the same command again later"
        elif status is None and isinstance(error, (httpx2.HTTPError, ConnectionError)):
            reason = f"the hub cannot be reached ({reason}); run the same command again"
        raise InputError(f"{repo}: {reason}") from error


def check_name(repo: str) -> None:
    """Raise `InputError` unless the hub takes the name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"--repo: {error}") from error
    if repo.count("/") != 1:
        raise InputError(f"--repo: {repo!r} is not ORG/NAME")


def main(argv: Sequence[str]) -> None:
    """Parse the command line, check the folder and publish it."""
    parser = argparse.ArgumentParser(
        prog="release.push", description="Check a model's folder and publish it on the hub."
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="repository on the hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--parity",
        type=Path,
        metavar="FILE",
        help="record of the conversion; default: conversion.json there, or beside its base",
    )
    parser.add_argument("--dry-run", action="store_true", help="check, list the files and stop")
    arguments = parser.parse_args(argv)
    check_name(arguments.repo)
    files = check(arguments.model, arguments.parity)
    rows = [(f"{size:,}", name) for name, size in files.items()]
    rows.append((f"{sum(files.values()):,}", f"bytes in {len(files)} files for {arguments.repo}"))
    print(tabulate(rows, tablefmt="plain", colalign=("right", "left"), disable_numparse=True))
    if arguments.dry_run:
        print("dry run: nothing was sent")
        return
    print(f"published: {push(arguments.model, arguments.repo, list(files), arguments.private)}")


if __name__ == "__main__":
    cli.run(main)
