"""One kind of weight in both formats: how a tensor of Hugging Face becomes MaxText's array."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.architecture import Architecture

Array = npt.NDArray[Any]
Region = tuple[slice, ...]
"""Position of a block in an array: start and stop on every axis."""


@dataclass(frozen=True)
class Weight:
    """One kind of weight: its name in each format, its axes, and how the formats differ."""

    hf: str
    """Name in LlamaForCausalLM; ``{layer}`` stands for the layer's index."""
    maxtext: str
    """Path in MaxText's parameters; a layer's weight is stacked when scanned."""
    inputs: tuple[str, ...]
    """`Architecture` fields that size the input axes; empty for vectors and the embedding."""
    outputs: tuple[str, ...]
    """`Architecture` fields that size the output axes."""
    only: str | None = None
    """`Architecture` field that is true for a model that has it; all models have it without one."""
    flat: bool = False
    """Whether a weight without inputs has one axis in Hugging Face's format."""
    scale: str | None = None
    """`Architecture` property: Hugging Face's weight divided by MaxText's."""
    rotary: bool = False
    """Whether the last axis is rotated by position."""

    @property
    def per_layer(self) -> bool:
        """Whether every layer has one."""
        return "{layer}" in self.hf

    def shape(self, sizes: Architecture) -> tuple[int, ...]:
        """MaxText's shape of one layer's weight."""
        return tuple(getattr(sizes, axis) for axis in self.inputs + self.outputs)

    def hf_shape(self, sizes: Architecture) -> tuple[int, ...]:
        """Hugging Face's shape."""
        shape = self.shape(sizes)
        if not self.inputs:
            return (math.prod(shape),) if self.flat else shape
        inputs = math.prod(shape[: len(self.inputs)])
        return math.prod(shape) // inputs, inputs

    def factor(self, sizes: Architecture) -> np.float32:
        """Hugging Face's weight divided by MaxText's."""
        return np.float32(getattr(sizes, self.scale) if self.scale else 1)

    def view(self, tensor: Array, sizes: Architecture) -> Array:
        """Hugging Face's tensor with MaxText's axes, sharing its memory.

        The last axis of a rotary weight keeps Hugging Face's order: see `place`.
        """
        if self.inputs or self.flat:
            return tensor.T.reshape(self.shape(sizes), copy=False)
        return tensor

    def place(self, block: Array, region: Region, tensor: Array, sizes: Architecture) -> None:
        """Copy a block of MaxText's array, already scaled, to where it belongs in ``tensor``.

        Rows of the vocabulary beyond ``tensor``'s are padding and are left out.
        """
        view = self.view(tensor, sizes)
        region = tuple(
            slice(part.start, max(part.start, min(part.stop, size)))
            for part, size in zip(region, view.shape, strict=True)
        )
        block = block[tuple(slice(part.stop - part.start) for part in region)]
        if self.rotary and sizes.rope_interleaved:
            rows: Any = hf_rows(sizes.head_dim)[region[-1]]
            view[(*region[:-1], rows)] = block
        else:
            view[region] = block

    def to_maxtext(self, tensor: Array, sizes: Architecture) -> npt.NDArray[np.float32]:
        """Hugging Face's tensor of one layer, of any float type, as MaxText's array."""
        array = self.view(tensor, sizes).astype(np.float32, order="C")
        if self.rotary and sizes.rope_interleaved:
            array = array[..., hf_rows(sizes.head_dim)]
        return unscale(array, self.factor(sizes)) if self.scale else array


def hf_rows(head_dim: int) -> npt.NDArray[np.intp]:
    """Hugging Face's row for each of MaxText's in a head whose neighbours rotate together."""
    index = np.arange(head_dim)
    return index // 2 + index % 2 * (head_dim // 2)


def unscale(product: npt.NDArray[np.float32], factor: np.float32) -> npt.NDArray[np.float32]:
    """The float32 values whose product with ``factor`` is ``product`` exactly, where they exist.

    Division alone misses some by a unit in the last place. Where no float32 value has this product
    (``factor`` is not a power of two, and this map did not make the weight) the result is the
    nearest quotient.
    """
    quotient = product / factor
    with np.errstate(over="ignore"):
        for end in (np.float32(np.inf), np.float32(-np.inf)):
            near = np.nextafter(quotient, end)
            quotient = np.where(
                (quotient * factor != product) & (near * factor == product), near, quotient
            )
    return quotient
