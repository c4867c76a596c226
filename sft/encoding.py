"""The tokens of examples, and the reasons for which these are rejected."""

from collections.abc import Sequence

from sft.examples import Example
from tinymathreason.chat import Chat, Encoded, TemplateError

BATCH = 2000
"""Examples tokenised together, and rows of a parquet row group."""


def encode(
    chat: Chat, batch: Sequence[Example], turns: Sequence[str], max_length: int | None
) -> list[Encoded | None]:
    """The tokens of each example; None for one that gets a reason.

    Reasons: ``template`` and, for more than ``max_length`` tokens, ``too_long``. ``turns`` are the
    keys of the examples' sources.
    """
    skipped = [example.skipped(turn) for example, turn in zip(batch, turns, strict=True)]
    found = _encoded(chat, batch, skipped)
    for number, encoded in enumerate(found):
        if encoded is None:
            batch[number].reason = "template"
        elif max_length is not None and len(encoded.ids) > max_length:
            batch[number].reason, found[number] = "too_long", None
    return found


def _encoded(chat: Chat, batch: Sequence[Example], skipped: Sequence[int]) -> list[Encoded | None]:
    try:
        return list(chat.encode([example.messages for example in batch], skipped=skipped))
    except TemplateError as error:
        if len(batch) == 1:
            batch[0].why = str(error)
            return [None]
        pairs = zip(batch, skipped, strict=True)
        return [one for example, number in pairs for one in _encoded(chat, [example], [number])]
