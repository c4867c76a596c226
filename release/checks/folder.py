"""Checks a model's folder and lists what must be fixed before it is published."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.decoding import turn_end
from release.cards.metadata import edited, problems, statement
from release.checks import secrets, weights
from release.lineage import PARITY, lineage, parity_record, tuning_record
from release.origin import origin
from tinymathreason import disk
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, whole
from tinymathreason.provenance import asking_hash, model_hash
from tinymathreason.records.conversion import Conversion

CARD = "README.md"
_BELONGS = re.compile(
    r"README\.md|LICENSE|NOTICE|config\.json|generation_config\.json|chat_template\.jinja"
    r"|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.json|merges\.txt|tokenizer\.model|conversion\.json|(sft|dpo|grpo)\.json|curves\.png"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
)
_STATE = re.compile(
    r"optimizer.*|scheduler.*|rng_state.*|scaler\.pt|trainer_state\.json|training_args\.bin"
    r"|global_step.*|checkpoint.*|_CHECKPOINT_METADATA|commit_success\.txt|items|.*\.ckpt"
    r"|.*\.distcp|ocdbt.*|.*\.zarr|events\.out\..*|wandb"
)
_PICKLE = re.compile(r".*\.(bin|pt|pth|pkl|pickle|joblib|npy|npz|msgpack|h5)")
_PROMPT = "Tom has 3 apples and buys 4 more. How many apples has he now?"
_NEW_TOKENS = 32


@dataclass
class Finding:
    """The result of one check, which refuses the folder when there is a problem."""

    name: str
    summary: str = ""
    """What was checked, for a check without a problem."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Lines for a user: ok or refused, then the warnings."""
        if self.problems:
            yield f"{self.name}: refused: {'; '.join(self.problems)}"
        else:
            yield f"{self.name}: ok{f' ({self.summary})' if self.summary else ''}"
        for warning in self.warnings:
            yield f"{self.name}: note: {warning}"


def findings(folder: Path, parity: Path | None = None) -> Iterator[Finding]:
    """The results of all checks of a model's folder, the cheap ones first, each when it is done.

    ``parity`` is the record that proves the conversion. By default it is in the folder, or in that
    of the base model to which the records of fine-tuning lead.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    yield _checked("files", _files, folder)
    yield _checked("secrets", _secrets, folder)
    whole = _checked("weights", _weights, folder)
    yield whole
    yield _checked("card", _card, folder)
    yield _checked("licence", _licence, folder)
    yield _checked("parity", lambda f, finding: _parity(f, finding, parity), folder)
    if whole.problems:
        yield Finding("generation", problems=["not tried, because of the weights"])
    else:
        yield _checked("generation", _generation, folder)


def _checked(name: str, check: Callable[[Path, Finding], None], folder: Path) -> Finding:
    finding = Finding(name)
    try:
        check(folder, finding)
    except (InputError, OSError) as error:
        line = str(error) if isinstance(error, InputError) else disk.explain(error)
        finding.problems.append(" ".join(line.split()))
    return finding


def _files(folder: Path, finding: Finding) -> None:
    """The folder has the files of a model and nothing else, and no links."""
    paths = whole(folder)
    for path in paths:
        if path.is_symlink():
            finding.problems.append(f"{path.name} is a link: put the file itself there")
        elif _STATE.fullmatch(path.name):
            finding.problems.append(f"{path.name} is a state of training: remove it")
        elif _PICKLE.fullmatch(path.name):
            finding.problems.append(f"{path.name} may run code when it is read: remove it")
        elif path.is_dir():
            finding.problems.append(f"{path.name}/ is a folder: a model has none")
        elif not _BELONGS.fullmatch(path.name):
            finding.problems.append(f"{path.name} does not belong to a model")
        elif path.suffix == ".json":
            finding.problems += _wrong_json(path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            finding.problems.append(f"no {name}")
    finding.summary = f"{len(paths)}, all of a model"


def _wrong_json(path: Path) -> Iterator[str]:
    try:
        value = read_json(path)
    except InputError as error:
        yield " ".join(str(error).split())
        return
    # The keys of other files may be tokens.
    if path.name.endswith("config.json") and isinstance(value, dict) and "auto_map" in value:
        yield f"{path.name} names code to run in its auto_map: remove that"


def _secrets(folder: Path, finding: Finding) -> None:
    for path in whole(folder):
        if path.is_file() and not path.is_symlink():
            content = weights.header(path) if path.suffix == ".safetensors" else path.read_bytes()
            finding.problems += [f"{path.name} {line}" for line in secrets.find_secrets(content)]
            finding.warnings += [f"{path.name} {line}" for line in secrets.find_homes(content)]
    finding.summary = "none"


def _weights(folder: Path, finding: Finding) -> None:
    tensors = weights.Tensors(folder)
    finding.problems += [f"{name} holds a NaN or an infinity" for name in tensors.not_finite()]
    finding.summary = f"{tensors.parameters:,} parameters, all finite, in files of their full size"


def _card(folder: Path, finding: Finding) -> None:
    """The card is valid and describes these weights."""
    path = folder / CARD
    if not path.is_file():
        raise InputError(f"no {CARD}: python -m release.card --run RUN --output {folder}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{CARD} is not in UTF-8: write it again") from error
    finding.problems += problems(text)
    stated = statement(text)
    if stated:
        if edited(text, stated):
            finding.warnings.append("edited since release.card wrote it")
        if stated[1] != model_hash(folder):
            finding.problems.append("it was written for other weights: write it again")
        if stated[2] != asking_hash(folder):
            finding.problems.append(
                "it was written for another tokenizer, template or generation configuration: "
                "write it again"
            )
        finding.summary = "valid, of these weights"
        return
    count = f"{weights.Tensors(folder).parameters:,}"
    if not re.search(rf"(?<![\d,.]){count}(?![\d,])", text):
        finding.problems.append(f"it names neither these weights' SHA-256 nor {count} parameters")
    finding.summary = f"valid, of {count} parameters"


def _licence(folder: Path, finding: Finding) -> None:
    """A file or the card names the licence; the check of the card knows the valid ones."""
    path = folder / "LICENSE"
    if path.is_file() and path.stat().st_size:
        finding.summary = path.name
        return
    card = (folder / CARD).read_bytes() if (folder / CARD).is_file() else b""
    match = re.search(r"^license: *(\S+)$", card.decode("utf-8", "replace"), re.MULTILINE)
    if match is None:
        raise InputError("neither a LICENSE file nor a licence in the card")
    finding.summary = f"{match[1]}, by the card"


def _parity(folder: Path, finding: Finding, given: Path | None) -> None:
    """The conversion of this model, or of the one it was tuned from, is proven to be exact.

    A model that was tuned from an open one as it is, without pretraining here, was never converted.
    """
    tuned = tuning_record(folder)
    if tuned and tuned.model_sha256 != model_hash(folder):
        finding.problems.append("the record of its fine-tuning is of other weights")
    path = given or parity_record(folder)
    if path is None:
        began = origin(folder)
        if began is None or began.folder == folder:
            raise InputError(
                f"no {PARITY} in the folder or in that of its base: name it by --parity"
            )
        finding.summary = f"nothing was converted: it was tuned from {began.words}"
        return
    conversion = Conversion.load(path)
    if conversion.parity is None:
        raise InputError(f"{path}: no proof in it; convert without --skip-parity")
    if not conversion.parity.accepted:
        finding.problems.append(f"{path}: the conversion did not agree with MaxText's model")
    count = weights.Tensors(folder).parameters
    if conversion.parameters != count:
        finding.problems.append(
            f"{path}: is of a model of {conversion.parameters} parameters, this one has {count}"
        )
    _check_proven(folder, finding, path, conversion.model_sha256)
    finding.summary = f"{path}: logits within {conversion.parity.max_abs_diff:.1e}"


def _check_proven(folder: Path, finding: Finding, path: Path, proven: str) -> None:
    """The proof is of the model's weights, or of those it was tuned from."""
    known = set()
    for place in lineage(folder):
        known.add(model_hash(place))
        if tuned := tuning_record(place):
            known.add(tuned.base)
    if proven in known:
        return
    # For a model that was tuned from one of the hub, the record has a revision.
    revisions = [base for base in known if not re.fullmatch("[0-9a-f]{64}", base)]
    if revisions:
        finding.warnings.append(
            f"{path}: cannot be compared with revision {revisions[0]} on the hub, from which it "
            "was tuned"
        )
    else:
        finding.problems.append(f"{path}: proves other weights than these or those they came from")


def _generation(folder: Path, finding: Finding) -> None:
    """The model loads completely, on CPU, and answers a question with some text."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, trust_remote_code=False, use_safetensors=True
        )
    except (ImportError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"the model does not load: {' '.join(str(error).split())}") from error
    model, info = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            names = ", ".join(sorted(str(name) for name in info[kind])[:3])
            finding.problems.append(f"{kind.replace('_', ' ')} of the weights: {names}")
    ids = prompt(tokenizer)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(f"{len(tokenizer)} entries in the tokenizer, {rows} in the model")
    with torch.inference_mode():
        tokens = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=_NEW_TOKENS,
            do_sample=False,
        )
    new = tokens[0, len(ids) :].tolist()
    if not tokenizer.decode(new, skip_special_tokens=True).strip():
        finding.problems.append("its answer to a question is empty")
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    stopped = new and new[-1] in ends
    end = turn_end(tokenizer) if tokenizer.chat_template else None
    if end is not None and end not in ends:
        finding.warnings.append(
            f"generation_config.json: its eos_token_id lacks {end}, with which the template ends "
            "an answer: other software may generate up to the limit"
        )
    finding.summary = f"{'stopped after' if stopped else 'reached the limit of'} {len(new)} tokens"


def prompt(tokenizer: Any) -> list[int]:
    """The token ids of a question, in the tokenizer's chat template where it has one."""
    from tinymathreason.chat import Chat
    from tinymathreason.chatml import conversation

    if tokenizer.chat_template:
        chat = Chat(tokenizer, tokenizer.chat_template)
        return chat.encode([conversation(_PROMPT)], prompt=True)[0].ids
    ids: list[int] = tokenizer(_PROMPT, add_special_tokens=False)["input_ids"]
    return ids
