"""What a request asks for, how its next token is chosen, and how tokens become text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_HALF = "\ufffd"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """The token ids of a prompt, and how to continue it by at most ``max_tokens`` tokens.

    Temperature 0 is greedy decoding. ``top_p`` samples from the most likely tokens whose
    probabilities add up to it. The answer ends before a ``stop`` text. The same seed gives the same
    answer; None gives a different one each time.
    """

    ids: Sequence[int]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: Sequence[str] = ()
    seed: int | None = None


class Text:
    """Decodes token ids one by one, never to half a character or a part of a stop text."""

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = stop
        self._ids: list[int] = []
        self._held = ""
        self.stopped = False
        """Whether a stop text occurred; the text before it has been returned."""

    def add(self, token: int) -> str:
        """The text that is certain now, often that of the token."""
        self._ids.append(token)
        text = self._decode(self._ids)
        # A character may need several tokens; its first ones decode to this.
        if text.endswith(_HALF):
            return ""
        self._ids.clear()
        return self._before_stop(text)

    def end(self) -> str:
        """The text that was held back, after the last token."""
        return self._before_stop(self._decode(self._ids)) + self._held

    def _before_stop(self, text: str) -> str:
        text = self._held + text
        places = [(text.index(stop), len(stop)) for stop in self._stop if stop in text]
        if places:
            self._held, self.stopped = "", True
            # The stop text that is complete first, however the text is split into tokens.
            return text[: min(places, key=lambda place: (sum(place), place))[0]]
        partial = (n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n]))
        certain = len(text) - max(partial, default=0)
        self._held = text[certain:]
        return text[:certain]


def sample(logits: Any, temperature: float, top_p: float, generator: Any) -> int:
    """A token by the logits of one position: the most likely at temperature 0, else a sample."""
    import torch

    if not logits.max().isfinite():
        raise RuntimeError("its logits are not finite")
    if temperature == 0:
        return int(logits.argmax())
    # Relative to the largest logit, no temperature makes them infinite.
    scaled = (logits.double() - logits.max()) / temperature
    probabilities, tokens = scaled.softmax(-1).sort(descending=True, stable=True)
    probabilities[probabilities.cumsum(-1) - probabilities >= top_p] = 0
    return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])
