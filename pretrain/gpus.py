"""NVIDIA GPUs by name: their published figures and their prices."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Card:
    """The figures of one GPU, from NVIDIA's data sheets unless a field says otherwise."""

    name: str
    peak_flops: float
    """Dense bfloat16 operations per second with sums in float32."""

    memory: float
    """Bytes that CUDA reports as the card's total."""

    bandwidth: float
    """Bytes per second between the card and its memory."""

    link: float
    """Bytes per second that a card sends to the others of its node: NVLink, or PCIe without it."""

    network: float
    """Bytes per second that a card sends to another node, its share of a usual node's network."""

    price: float
    """US dollars per card and hour, on demand: a list price of `PRICES_OF`."""

    priced_by: str
    """Whose list price it is."""


PRICES_OF = "2026-09"
"""Year and month of `Card.price`; prices change, and differ by a factor of three between vendors.

RunPod Secure Cloud: https://www.runpod.io/pricing. Lambda: https://lambda.ai/pricing.
"""
CARDS_PER_NODE = 8
"""Cards of a node that are linked; a topology of more cards has several nodes."""

CARDS = {
    card.name: card
    for card in (
        Card(
            name="a100-40gb", peak_flops=312e12, memory=39.4 * GIB, bandwidth=1.555e12, link=300e9,
            network=25e9, price=1.99, priced_by="Lambda",
        ),
        Card(
            name="a100-80gb", peak_flops=312e12, memory=79.1 * GIB, bandwidth=2.039e12, link=300e9,
            network=25e9, price=1.59, priced_by="RunPod",
        ),
        Card(
            name="h100", peak_flops=989e12, memory=79.1 * GIB, bandwidth=3.35e12, link=450e9,
            network=50e9, price=3.49, priced_by="RunPod",
        ),
        Card(
            name="h200", peak_flops=989e12, memory=139.8 * GIB, bandwidth=4.8e12, link=450e9,
            network=50e9, price=4.59, priced_by="RunPod",
        ),
        Card(
            name="b200", peak_flops=2250e12, memory=178.3 * GIB, bandwidth=7.7e12, link=900e9,
            network=50e9, price=6.79, priced_by="RunPod",
        ),
        Card(
            name="a10", peak_flops=125e12, memory=22.0 * GIB, bandwidth=600e9, link=32e9,
            network=12.5e9, price=1.29, priced_by="Lambda",
        ),
        Card(
            name="rtx4090", peak_flops=165e12, memory=23.5 * GIB, bandwidth=1.008e12, link=32e9,
            network=12.5e9, price=0.74, priced_by="RunPod",
        ),
    )
}  # fmt: skip
"""The cards by name. H100 and H200 are the SXM modules; other forms have other peaks."""
LINKED = 100e9
"""Bytes per second from which a card's `Card.link` is NVLink, so that a node of it is worth one."""
