"""Checks of a run's options and of its first rows; a problem is one line, before the first step."""

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tinymathreason.cli import InputError

if TYPE_CHECKING:
    from sft.settings import Settings
    from tinymathreason.chat import Chat

ROWS = 64
"""Rows to check, evenly spread over the training set."""
IGNORED = -100
"""Label of a token that the loss ignores."""

Conversation = tuple[list[int], list[int]]
"""Token ids and their labels."""


def check_settings(settings: "Settings[Any]") -> None:
    """Raise `InputError` for options that break a run of any algorithm, naming what to set."""
    from evaluation import tasks

    model, accuracy, training = settings.model, settings.data.accuracy, settings.training
    if training.n_gpu > 1 and "device_map" not in (training.model_init_kwargs or {}):
        raise InputError(
            f"one process sees {training.n_gpu} GPUs; show it one (CUDA_VISIBLE_DEVICES=0), or "
            "start a process for each with accelerate launch: docs/fine-tuning.md"
        )
    if model.load_in_4bit or model.load_in_8bit:
        if not model.use_peft:
            raise InputError("quantised weights cannot be trained; add an adapter: use_peft: true")
        if importlib.util.find_spec("bitsandbytes") is None:
            raise InputError("load_in_4bit and load_in_8bit need: pip install bitsandbytes")
    optimiser = str(getattr(training.optim, "value", training.optim))
    small = any(part in optimiser for part in ("4bit", "8bit", "paged", "bnb"))
    package = "torchao" if "_torch_" in optimiser else "bitsandbytes"
    if small and importlib.util.find_spec(package) is None:
        raise InputError(f"optim: {optimiser} needs: pip install {package}")
    if training.eval_strategy != "no" and not settings.data.HOLDS_OUT:
        raise InputError("eval_strategy: there are no held-out examples here; use our key accuracy")
    if accuracy is not None and accuracy.task is not None:
        tasks.load(accuracy.task, accuracy.data, accuracy.problems)


def check_new_tokens(settings: "Settings[Any]", tokenizer: Any) -> None:
    """Raise `InputError` if tokens that the model lacks would not be learnt."""
    if not tokenizer.new_tokens:
        return
    token = tokenizer.convert_ids_to_tokens(tokenizer.new_tokens[0])
    what = f"the tokenizer of {settings.model.model_name_or_path} has no {token}"
    if not settings.data.HOLDS_OUT:
        raise InputError(f"{what}, so the model has not learnt the template; run sft.run first")
    if settings.model.use_peft:
        raise InputError(
            f"use_peft: {what}, and an adapter does not learn a token's embedding; set use_peft: "
            "false, or a chat_template whose tokens the model has"
        )


def check_packing(training: Any) -> None:
    """Raise `InputError` for options of an SFTConfig that break a run, naming what to set."""
    if training.packing and training.packing_strategy != "bfd":
        raise InputError(
            f"packing_strategy {training.packing_strategy}: it cuts conversations, and with "
            "'wrapped' they see one another; use bfd"
        )
    if training.packing and training.max_length is None:
        raise InputError("packing: true needs max_length, the length of a packed row")
    if training.eval_packing and not training.packing:
        raise InputError("eval_packing: true needs packing: true, or conversations see one another")
    if training.padding_free and not training.packing:
        raise InputError("padding_free: true is part of packing; set packing: true")
    if training.chat_template_path is not None:
        raise InputError("chat_template_path: our key for the template is chat_template")


def rows(dataset: Any) -> list[Any]:
    """At most `ROWS` rows of a data set, including the first one."""
    return [dataset[i] for i in range(0, len(dataset), -(-len(dataset) // ROWS))]


def conversations(batch: Any, pad: int) -> Iterator[Conversation]:
    """The conversations in a collated batch, without padding.

    The tensors have the shape (rows, tokens). A packed batch has one row, whose position_ids start
    again at 0 with every conversation.
    """
    for number, (ids, labels) in enumerate(zip(batch["input_ids"], batch["labels"], strict=True)):
        starts = [0]
        if "position_ids" in batch:
            starts = (batch["position_ids"][number] == 0).nonzero().flatten().tolist()
        else:
            kept = batch["attention_mask"][number].bool()
            ids, labels = ids[kept], labels[kept]
        for start, end in itertools.pairwise([*starts, len(ids)]):
            # What fills up a packed batch are sequences of their own.
            if (ids[start:end] != pad).any():
                yield ids[start:end].tolist(), labels[start:end].tolist()


def check_conversation(chat: "Chat", ids: Sequence[int], labels: Sequence[int]) -> None:
    """Raise `InputError` unless the loss sees exactly answers with their stop tokens."""
    tokenizer = chat.tokenizer
    where = f"a training row, {show(tokenizer, ids[:40], [IGNORED] * 40)!r}..."
    if any(label not in (IGNORED, i) for i, label in zip(ids, labels, strict=True)):
        raise InputError(f"{where}: a label differs from the token at its place")
    if all(label == IGNORED for label in labels):
        raise InputError(f"{where}: it has no target, so nothing would be learnt from it")
    bos = tokenizer.bos_token_id
    if bos is not None and list(ids[:2]) == [bos, bos]:
        raise InputError(f"{where}: it begins with two {tokenizer.bos_token}; the template has one")
    end = tokenizer.convert_ids_to_tokens(chat.stop)
    for seen, run in itertools.groupby(labels, key=lambda label: label != IGNORED):
        answer = list(run)
        if seen and (answer[-1] != chat.stop or chat.start in answer):
            text = show(tokenizer, answer, [IGNORED] * len(answer))
            raise InputError(f"{where}: the loss would see {text!r}, not an answer with {end}")


def show(tokenizer: Any, ids: Sequence[int], labels: Sequence[int], colour: bool = False) -> str:
    r"""The text of a conversation, with the part that the loss sees highlighted.

    The part is green with ``colour``, else between [[ and ]]. Control characters such as ``\x1b``
    are escaped, except for line breaks.
    """
    before, after = ("\x1b[32m", "\x1b[0m") if colour else ("[[", "]]")
    parts = []
    pairs = zip(ids, labels, strict=False)
    for seen, run in itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORED):
        text = tokenizer.decode([i for i, _ in run], skip_special_tokens=False)
        text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
        parts.append(f"{before}{text}{after}" if seen else text)
    return "".join(parts)
