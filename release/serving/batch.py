"""The requests that one model answers side by side: one forward step gives each its next token.

Prompts of different lengths are padded on the left, with positions of their own, so that no row
sees another one or the padding. A row joins after its prompt was read by itself, and leaves at any
token. When memory runs out, the rows are answered in halves, and only a row that fails alone fails.
"""

import contextlib
import math
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from release.serving.decoding import GenerationRequest, sample

Error = MemoryError | RuntimeError
"""What torch raises, mostly when it is out of memory."""
ERRORS = (MemoryError, RuntimeError)


class BatchRow:
    """One request in a batch."""

    def __init__(self, request: GenerationRequest, generator: Any) -> None:
        self.request, self.generator = request, generator
        self.length = len(request.ids)
        """Tokens in the cache."""
        self.last = 0
        """The newest token, which is not in the cache yet."""
        self.ready: deque[int | Error] = deque()
        """Tokens that nobody has taken yet."""
        self.gone = False
        """Whether nobody wants more of them."""

    def take(self, logits: Any, greedy: int, finite: bool) -> None:
        """Choose the next token by the logits of one position, whose likeliest is ``greedy``."""
        if not finite:
            self.ready.append(RuntimeError("its logits are not finite"))
            return
        request = self.request
        self.last = greedy
        if request.temperature > 0:
            self.last = sample(logits, request.temperature, request.top_p, self.generator)
        self.ready.append(self.last)


class Group:
    """Rows with one cache, which is padded on the left to the longest of them."""

    def __init__(self, rows: list[BatchRow], cache: Any) -> None:
        self.rows, self.cache = rows, cache

    @property
    def width(self) -> int:
        """Tokens in the cache, padding included."""
        return max(row.length for row in self.rows)

    @property
    def mergeable(self) -> bool:
        """Whether every layer's cache has all tokens; one with a sliding window has not."""
        from transformers.cache_utils import DynamicLayer

        return all(type(layer) is DynamicLayer for layer in self.cache.layers)

    def step(self, model: Any) -> None:
        """Give every row its next token.

        After an error the cache is as before, if it is mergeable. Others have one row, which fails.
        """
        import torch

        width, device = self.width, model.device
        lengths = torch.tensor([[row.length] for row in self.rows], device=device)
        mask = None
        if any(row.length < width for row in self.rows):
            # Also of the new token, which is last.
            mask = torch.arange(width, -1, -1, device=device) <= lengths
        try:
            out = model(
                torch.tensor([[row.last] for row in self.rows], device=device),
                attention_mask=mask,
                position_ids=lengths,
                past_key_values=self.cache,
                use_cache=True,
            )
        except ERRORS:
            for layer in self.cache.layers if self.mergeable else ():
                layer.keys, layer.values = layer.keys[..., :width, :], layer.values[..., :width, :]
            raise
        for row in self.rows:
            row.length += 1
        choose(self.rows, out.logits[:, -1])

    def select(self, indices: Sequence[int]) -> "Group":
        """A group of some of the rows, without the padding that only the others need."""
        import torch

        rows = [self.rows[i] for i in indices]
        start = self.width - max(row.length for row in rows)
        chosen = torch.tensor(indices, device=self.cache.layers[0].keys.device)
        return Group(
            rows, _cache([(k[chosen, :, start:], v[chosen, :, start:]) for k, v in _layers(self)])
        )


def choose(rows: list[BatchRow], logits: Any) -> None:
    """Give each row its next token: logits[rows, vocabulary]."""
    likeliest = logits.max(-1)
    greedy, finite = likeliest.indices.tolist(), likeliest.values.isfinite().tolist()
    for i, row in enumerate(rows):
        row.take(logits[i], greedy[i], finite[i])


def merge(groups: Sequence[Group]) -> Group:
    """One group of all rows, with the shorter caches padded on the left."""
    import torch
    from torch.nn.functional import pad

    width = max(group.width for group in groups)

    def joined(parts: Sequence[Any]) -> Any:
        padded = [pad(part, (0, 0, width - part.shape[-2], 0)) for part in parts]
        return torch.cat(padded)

    layers = zip(*map(_layers, groups), strict=True)
    pairs = [tuple(map(joined, zip(*layer, strict=True))) for layer in layers]
    return Group([row for group in groups for row in group.rows], _cache(pairs))


def _layers(group: Group) -> list[tuple[Any, Any]]:
    """Keys and values of each layer: [rows, heads, tokens, head_dim]."""
    return [(layer.keys, layer.values) for layer in group.cache.layers]


def _cache(layers: Sequence[tuple[Any, ...]]) -> Any:
    """A cache of keys and values."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for i, (keys, values) in enumerate(layers):
        cache.update(keys, values, i)
    return cache


class Batch:
    """A model and the rows that it answers. Only one thread may use it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._groups: list[Group] = []
        self._most: int | None = None
        """Most rows of a group, since memory ran out; None while it has not."""

    def join(self, request: GenerationRequest) -> BatchRow:
        """Read a prompt; its row has the first token ready. Raises torch's errors."""
        import torch

        generator = torch.Generator(self.model.device)
        if request.seed is None:
            generator.seed()
        else:
            generator.manual_seed(request.seed)
        row = BatchRow(request, generator)
        with torch.inference_mode():
            inputs = torch.tensor([list(request.ids)], device=self.model.device)
            out = self.model(inputs, use_cache=True, logits_to_keep=1)
            choose([row], out.logits[:, -1])
        self._groups.append(Group([row], out.past_key_values))
        return row

    def leave(self, row: BatchRow) -> None:
        """Take a row out; those beside it are put together before their next step."""
        row.gone = True
        self._groups = [g for g in self._groups if not all(other.gone for other in g.rows)]
        if not self._groups:
            self._most = None

    def next(self, row: BatchRow) -> int:
        """The next token of a row, after a step of all rows if it has none. Raises its error."""
        import torch

        if not row.ready:
            with torch.inference_mode():
                self._arrange()
                for group in list(self._groups):
                    self._step(group)
        token = row.ready.popleft()
        if isinstance(token, ERRORS):
            raise token
        return token

    def _arrange(self) -> None:
        """Drop the rows that are gone and join the groups, as far as the memory suffices."""
        for i, group in enumerate(self._groups):
            left = [k for k, row in enumerate(group.rows) if not row.gone]
            if len(left) < len(group.rows):
                with contextlib.suppress(*ERRORS):  # they stay, which only takes longer
                    self._groups[i] = group.select(left)
        together: list[Group] = []
        rows = 0
        for group in sorted(self._groups, key=lambda group: len(group.rows)):
            if group.mergeable and rows + len(group.rows) <= (self._most or math.inf):
                together.append(group)
                rows += len(group.rows)
        if len(together) > 1:
            try:
                merged = merge(together)
            except ERRORS:
                self._most = rows // 2
            else:
                self._groups = [g for g in self._groups if g not in together] + [merged]

    def _step(self, group: Group) -> None:
        """Give all rows of a group a token or an error, in halves where it fails."""
        try:
            group.step(self.model)
            return
        except ERRORS as error:
            failure = error.with_traceback(None)  # which would keep tensors in the memory
        halves = []
        if len(group.rows) > 1:
            self._most = half = len(group.rows) // 2
            try:
                halves = [group.select(range(half)), group.select(range(half, len(group.rows)))]
            except ERRORS as error:
                failure = error.with_traceback(None)
        if not halves:
            for row in group.rows:
                row.ready.append(failure)
            return
        self._groups = [g for g in self._groups if g is not group] + halves
        for part in halves:
            self._step(part)


def tokens(batch: Batch, request: GenerationRequest) -> Generator[int]:
    """The tokens that continue a prompt, without end; each is generated when it is taken."""
    row = batch.join(request)
    try:
        while True:
            yield batch.next(row)
    finally:
        batch.leave(row)
