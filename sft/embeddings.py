"""Gives a model rows for tokens that its tokenizer was given after its training."""

from collections.abc import Sequence
from typing import Any


def add_rows(model: Any, ids: Sequence[int]) -> None:
    """Set the rows of the tokens ``ids``, in the embedding and in the head, to the mean of all old.

    With the mean as its logit's weights, a new token takes little probability from the old ones.
    Rows drawn at random may take nearly all of it (Hewitt 2021, "Initializing new word embeddings
    for pretrained language models"). A tied head stays tied; ``model`` is changed in place, and its
    configuration gets the new number of rows.
    """
    import torch

    old = model.get_input_embeddings().num_embeddings
    if max(ids) >= old:
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    kept = torch.ones(old, dtype=torch.bool)
    kept[[i for i in ids if i < old]] = False
    weights = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        weights.append(model.get_output_embeddings().weight)
    with torch.no_grad():
        for weight in weights:
            mean = weight[:old][kept.to(weight.device)].float().mean(0)
            weight[list(ids)] = mean.to(weight.dtype)
