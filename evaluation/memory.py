"""How many rows of a batch fit a GPU's memory while a model answers them, from its shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.llama import LlamaSizes, hf_sizes

ON_CPU = 64
"""Rows of a batch on a CPU, where more of them do not make it faster."""
MOST = 1024
"""Most rows of a batch: with more of them a card answers hardly faster."""
SHARE = 0.8
"""Share of the free memory that the estimate may fill; fragments and libraries need the rest."""


@dataclass(frozen=True)
class Rows:
    """The number of rows that fit ``free`` bytes with a model of ``sizes``.

    ``width`` is the bytes of a number in the cache and in the activations: 2 in bfloat16.
    """

    sizes: LlamaSizes
    free: int
    width: int

    def fit(self, prompt: int, new: int, choices: bool = False, most: int = MOST) -> int:
        """From 1 to ``most`` rows of ``prompt`` tokens that are continued by ``new`` ones.

        With ``choices`` nothing is written, and the model's logits of every token are needed.
        A number above 8 is a multiple of 8.
        """
        rows = int(SHARE * self.free) // self.row_bytes(prompt, new, choices)
        rows = max(1, min(most, rows))
        return rows if rows < 8 else rows - rows % 8

    def row_bytes(self, prompt: int, new: int, choices: bool = False) -> int:
        """Bytes of a row when it needs most: its cache, and what one layer holds beside it."""
        s = self.sizes
        tokens = prompt + new
        keys = 2 * s.kv_heads * s.head_dim * self.width
        cache = s.layers * keys * tokens
        # Under a mask, keys and values are repeated for each of their query heads.
        repeated = 2 * s.heads * s.head_dim * self.width
        # The residual, its norm, queries, the attention's output; gate, up and their product.
        activations = (6 * s.hidden + 3 * s.mlp) * self.width
        # The mask of the prompt, as booleans and as numbers.
        reading = prompt * (activations + repeated + prompt * (1 + self.width))
        # A longer cache is a copy of the layer's; the logits are sampled from in float32.
        writing = tokens * (keys + repeated) + 16 * s.vocab
        if choices:
            reading += tokens * s.vocab * (self.width + 8)
        return int(cache + max(reading, writing))


def sizes_of(config: Any) -> LlamaSizes | None:
    """The sizes in transformers' configuration of a model; None if it is not of Llama's form."""
    try:
        return LlamaSizes(**hf_sizes(config.to_dict()))
    except InputError:
        return None


def free_bytes() -> int:
    """Bytes of the GPU's memory that new tensors can have."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def rows_of(model: Any) -> Rows | None:
    """The rows that fit beside a loaded ``model``; None on a CPU and for an unknown shape."""
    sizes = sizes_of(model.config)
    if model.device.type != "cuda" or sizes is None:
        return None
    return Rows(sizes, free_bytes(), model.dtype.itemsize)


def halving[Item, Answer](
    items: list[Item], answer: Callable[[list[Item]], list[Answer]]
) -> list[Answer]:
    """The answers to all items at once; in halves, and halves of them, when memory runs out.

    Raises torch's error when it runs out with a single item.
    """
    import torch

    try:
        return answer(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
    # Outside of the handler, whose traceback holds the tensors of the failed batch.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = -(-len(items) // 2)
    return [*halving(items[:half], answer), *halving(items[half:], answer)]
