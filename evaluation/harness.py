"""lm-eval's transformers model, changed so that an answer does not depend on its batch.

Upstream ends a batch when every row has one of the stop texts, and looks for them in text without
control tokens, so that text after a row's own ``<|im_end|>`` would count. Here each row ends by
itself, at an end token or at the text that upstream would find with a batch size of one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import MultiTokenEOSCriteria
from transformers import StoppingCriteriaList

from evaluation import decoding
from tinymathreason.control_tokens import control_ids


class StopText(MultiTokenEOSCriteria):  # type: ignore[misc]
    """Upstream's search for a stop text, reported for each row of a batch."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Which rows have the stop text: bool[rows]."""
        super().__call__(input_ids, scores, **kwargs)
        return torch.tensor(self.done_tracker, device=input_ids.device)


class HarnessModel(HFLM):  # type: ignore[misc]
    """The model of a folder with safetensors weights, decoded by our own configuration.

    A request's ``stop_token_ids`` are the tokens that end an answer, as in vLLM.
    """

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(folder, use_safetensors=True, **options)
        self.model.generation_config = decoding.own([], self.tokenizer.pad_token_id)

    def tok_batch_encode(self, strings: list[str], *args: Any, **kwargs: Any) -> Any:
        """The ids and the mask of each text, encoded by itself and padded on the left.

        Upstream looks only at the first text to decide whether all begin with a start token.
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
        special = control_ids(self.tokenizer)
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
