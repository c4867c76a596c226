"""A prompt's token ids in; the tokens that a model continues it by, and their text, out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_HALF = "\ufffd"


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt's token ids, and how to answer it: in at most ``max_tokens`` tokens.

    Temperature 0 takes the likeliest token. ``top_p`` samples from the likeliest tokens that
    together have this probability. The answer ends before a ``stop`` text. The same seed gives the
    same answer, None a different one each time.
    """

    ids: Sequence[int]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: Sequence[str] = ()
    seed: int | None = None


class Text:
    """Token ids in; their text out, never half a character and never part of a stop text."""

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = stop
        self._ids: list[int] = []
        self._held = ""
        self.stopped = False
        """Whether a stop text was found: what stood before it has been given out."""

    def add(self, token: int) -> str:
        """The text that is certain now; often that of the token."""
        self._ids.append(token)
        text = self._decode(self._ids)
        # A character may take several tokens; a decoder shows its beginning as this.
        if text.endswith(_HALF):
            return ""
        self._ids.clear()
        return self._before_stop(text)

    def end(self) -> str:
        """What was held back, when no more tokens come."""
        return self._before_stop(self._decode(self._ids)) + self._held

    def _before_stop(self, text: str) -> str:
        text = self._held + text
        found = [(text.index(stop), len(stop)) for stop in self._stop if stop in text]
        if found:
            self._held, self.stopped = "", True
            # The one that is complete first, however the text was cut into tokens.
            return text[: min(found, key=lambda place: (sum(place), place))[0]]
        begun = (n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n]))
        certain = len(text) - max(begun, default=0)
        self._held = text[certain:]
        return text[:certain]


def sample(logits: Any, temperature: float, top_p: float, generator: Any) -> int:
    """A token of one position's logits: the likeliest at temperature 0, else a random one."""
    import torch

    if not logits.max().isfinite():
        raise RuntimeError("its logits are not finite")
    if temperature == 0:
        return int(logits.argmax())
    # Below the greatest, no temperature makes them infinite.
    scaled = (logits.double() - logits.max()) / temperature
    chances, tokens = scaled.softmax(-1).sort(descending=True, stable=True)
    chances[chances.cumsum(-1) - chances >= top_p] = 0
    return int(tokens[torch.multinomial(chances, 1, generator=generator)])


def tokens(model: Any, request: Request) -> Iterator[int]:
    """The tokens by which the model continues a prompt, without end, each when it is asked for."""
    import torch

    generator = torch.Generator(model.device)
    if request.seed is None:
        generator.seed()
    else:
        generator.manual_seed(request.seed)
    new, cache = list(request.ids), None
    while True:
        # Not across the yield: the mode is the thread's, and others take their turns meanwhile.
        with torch.inference_mode():
            inputs = torch.tensor([new], device=model.device)
            out = model(inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = sample(out.logits[0, -1], request.temperature, request.top_p, generator)
        new, cache = [token], out.past_key_values
        yield token
