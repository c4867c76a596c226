"""lm-eval's model of transformers, whose answers do not depend on the batch that they are made in.

Upstream ends a batch when every row has said one of the stop texts, and looks for them in a text
without control tokens: what a row says after its own ``<|im_end|>`` would count. Here each row ends
by itself, at the token of an end or at the text that upstream would find at a batch size of one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import MultiTokenEOSCriteria
from transformers import StoppingCriteriaList

from evaluation import decoding


class StopText(MultiTokenEOSCriteria):  # type: ignore[misc]
    """Upstream's search for a stop text, told for each row of a batch."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Which rows have said it: (rows,), bool."""
        super().__call__(input_ids, scores, **kwargs)
        return torch.tensor(self.done_tracker, device=input_ids.device)


class HarnessModel(HFLM):  # type: ignore[misc]
    """A model's folder, its weights in safetensors, decoded by a configuration of our own.

    ``stop_token_ids`` among a request's settings are the tokens that end an answer, as for vLLM.
    """

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(folder, use_safetensors=True, **options)
        self.model.generation_config = decoding.own([], self.tokenizer.pad_token_id)

    def tok_batch_encode(self, strings: list[str], *args: Any, **kwargs: Any) -> Any:
        """The ids and the mask of each text as they are of it alone, padded on the left.

        Upstream asks the first one whether all of them begin with the beginning-of-text token.
        """
        encode = super().tok_batch_encode
        rows = [encode([text], *args, **kwargs)[0][0].tolist() for text in strings]
        batch = self.tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]

    def _model_generate(
        self,
        context: Any,
        max_length: int,
        stop: list[str],
        stop_token_ids: Sequence[int] = (),
        **settings: Any,
    ) -> Any:
        special = decoding.special_ids(self.tokenizer)
        ends = {*stop_token_ids, *(special[text] for text in stop if text in special)}
        texts = [text for text in stop if text and text not in special]
        if not settings["do_sample"]:
            settings.pop("temperature", None)
        return self.model.generate(
            input_ids=context,
            max_length=max_length,
            eos_token_id=sorted(ends),
            stopping_criteria=StoppingCriteriaList(
                StopText(text, self.tokenizer, context.shape[1], len(context)) for text in texts
            ),
            **settings,
        )
