"""A model whose answers are built into its weights and depend on no training.

Its attention looks at all tokens alike and its feed-forward part adds nothing, so that a position
sees, each in a half of its own, the token that stands there and how often every token stands before
it. The head says what follows a token; behind one without a follower comes the most frequent digit.
"""

import itertools
import shutil
from pathlib import Path

from tinymathreason.chatml import EOS, IM_END, TEMPLATE

CHAIN = "HGFEDCBA"
"""A digit d begins the answer at letter d % 8: answers have from one to eight letters."""


def write(source: Path, folder: Path, follow: dict[str, str] | None = None) -> Path:
    """A chat model's folder, without a generation configuration, with a small model's tokenizer.

    An answer is the digit, then a tail of `CHAIN`, then ``<|im_end|>``; whoever reads on finds
    ``z`` without end. ``follow`` says what follows other tokens.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    shutil.copytree(source, folder)
    shutil.copy(TEMPLATE, folder / "chat_template.jinja")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    config = AutoConfig.from_pretrained(
        folder, hidden_size=2 * size, head_dim=2 * size, num_attention_heads=1,
        num_key_value_heads=1, num_hidden_layers=1, vocab_size=size, tie_word_embeddings=False,
        max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config)

    def one(text: str) -> int:
        (result,) = tokenizer(text)["input_ids"]
        return int(result)

    pairs = dict(itertools.pairwise([*CHAIN, IM_END, "z", "z"])) | {EOS: "z"} | (follow or {})
    layer = model.model.layers[0]
    with torch.no_grad():
        for weights in (*layer.parameters(), model.lm_head.weight):
            weights.zero_()
        layer.input_layernorm.weight.fill_(1.0)
        layer.post_attention_layernorm.weight.fill_(1.0)
        model.model.embed_tokens.weight.zero_()[:, :size] = torch.eye(size)
        layer.self_attn.v_proj.weight.copy_(torch.eye(2 * size))
        # What comes out is scaled as the norm has scaled what went in.
        layer.self_attn.o_proj.weight[size:, :size] = torch.eye(size) / (2 * size) ** 0.5
        head = model.lm_head.weight
        for digit in range(10):
            # No two sums of a few of these are equal: rounding decides no answer.
            head[one(str(digit)), size + one(str(digit))] = 1 + (digit + 2) ** 0.5 / 10
            pairs[str(digit)] = CHAIN[digit % 8]
        for token, after in pairs.items():
            head[one(after), one(token)] = 10
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder
