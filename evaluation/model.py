"""A model's folder, or its name on the hub, in; an lm-eval model that answers requests out."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from data_prep.listing import reaching
from tinymathreason.cli import InputError

FILES = ("*.json", "*.jinja", "*.safetensors")
ASKING = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files on which it depends how a model is asked, and when it stops."""


def folder(name: str) -> Path:
    """The folder of a model; one that is named ``ORG/NAME[@REVISION]`` is fetched from the hub.

    Raises `InputError` when there is no such folder, or no model and tokenizer in it.
    """
    path = Path(name)
    repository, _, revision = name.partition("@")
    if not path.exists() and repository.count("/") == 1 and not name.startswith((".", "/", "~")):
        with reaching(f"{name}: no such folder here, and not to be had from the hub"):
            from huggingface_hub import snapshot_download

            path = Path(
                snapshot_download(repository, revision=revision or None, allow_patterns=FILES)
            )
    check_folder(path)
    return path


def check_folder(path: Path) -> None:
    """Raise `InputError` unless a model and its tokenizer are in a folder."""
    for name in ("config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise InputError(f"{path}: no {name} there; --model takes a model's folder")


def files_hash(model: Path, data: str | None) -> str:
    """SHA-256 over what else a result depends on: tokenizer, template, and local problems."""
    files = [model / name for name in ASKING]
    if data is not None and Path(data).exists():
        files += sorted(Path(data).rglob("*.*")) if Path(data).is_dir() else [Path(data)]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(f"{file.name}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def check_rows(model: Any, tokenizer: Any, name: Path) -> None:
    """Raise `InputError` when the tokenizer has entries that the model has no row for."""
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(f"{name}: {len(tokenizer)} entries in the tokenizer, {rows} in the model")


def check_form(tokenizer: Any, form: str | None, name: Path) -> str:
    """How to ask: ``chat``, by the tokenizer's template, or ``plain``; by default chat if it can.

    Raises `InputError` for ``chat`` without a template.
    """
    if form == "chat" and not tokenizer.chat_template:
        raise InputError(f"{name}: no chat template there; ask with --form plain")
    return form or ("chat" if tokenizer.chat_template else "plain")


def device_and_dtype() -> tuple[str, str]:
    """Where a model runs, and in which numbers: bfloat16 on a GPU, float32 on a CPU."""
    import torch

    return ("cuda", "bfloat16") if torch.cuda.is_available() else ("cpu", "float32")


def open_lm(path: Path, backend: str, batch_size: int) -> Any:
    """lm-eval's model of a folder, by transformers or by vLLM.

    Raises `InputError` when vLLM is missing, and when model and tokenizer do not fit.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    device, dtype = device_and_dtype()
    if backend == "vllm":
        try:
            from lm_eval.models.vllm_causallms import VLLM
        except ModuleNotFoundError as error:
            raise InputError(
                f"backend: {error}; vLLM is installed by itself, on a machine with a GPU"
            ) from error
        return VLLM(str(path), dtype=dtype, batch_size="auto")
    from lm_eval.models.huggingface import HFLM

    with reaching(f"{path}: no model that transformers can load"):
        lm = HFLM(str(path), device=device, dtype=dtype, batch_size=batch_size)
    check_rows(lm.model, lm.tokenizer, path)
    return lm
