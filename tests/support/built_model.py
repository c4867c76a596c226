"""A model whose answers are built into its weights, so that every processor gives the same ones.

To any question it says ``#### `` and the last digit before it. After an odd digit it stops, after
an even one it begins again, for as long as it may. The likeliest token is always far from the next,
so that rounding decides nothing, and every token has a chance, so that samples differ.
"""

import re
from pathlib import Path

import numpy as np

from tinymathreason.answers import PREFIX
from tinymathreason.chatml import IM_END, TEMPLATE

CONTEXT = 512
_DIGITS = "0123456789"
_HEAD_DIM = 16
_SLOW = _HEAD_DIM // 2 - 1
"""The slowest pair of dimensions of the rotary embedding: a radian over the whole context."""
_NEXT, _DIGIT, _COPIED = 6.0, 6.0, 3.0
"""Logits of a token's fixed successor, of any digit after a space, and of the digit that was seen
last; all other logits lie between -1 and 1."""


def answer(question: str) -> str:
    """The model's answer to a question with a digit in it."""
    return re.findall(r"\d", question)[-1]


def save(tokenizer_dir: Path, folder: Path) -> None:
    """Write it as a tuned model, with the tokenizer of a folder and our chat template."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    tokenizer.chat_template = TEMPLATE.read_text()
    vocabulary = len(tokenizer)
    (end,) = tokenizer.convert_tokens_to_ids([IM_END])
    digits = tokenizer.convert_tokens_to_ids(list(_DIGITS))
    prefix, space = tokenizer(PREFIX)["input_ids"]
    newline, colon = (tokenizer(text)["input_ids"][-1] for text in ("a\n", "a:"))

    rng = np.random.default_rng(0)
    logits = np.stack([rng.permutation(np.linspace(-1, 1, vocabulary)) for _ in range(vocabulary)])
    after = {newline: prefix, colon: prefix, prefix: space}
    after |= {
        token: end if int(d) % 2 else newline for d, token in zip(_DIGITS, digits, strict=True)
    }
    for token, following in after.items():
        logits[token, following] = _NEXT
    logits[space, digits] += _DIGIT

    # The hidden state is the token itself, and beside it the digit that was seen last.
    hidden = vocabulary + len(_DIGITS)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        head_dim=_HEAD_DIM,
        max_position_embeddings=CONTEXT,
        rope_parameters={
            "rope_type": "default", "rope_theta": CONTEXT ** (_HEAD_DIM / 2 / _SLOW),
        },
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = [end]
    layer = model.model.layers[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (layer.input_layernorm, layer.post_attention_layernorm, model.model.norm):
            norm.weight.fill_(hidden**-0.5)
        model.model.embed_tokens.weight[:, :vocabulary] = torch.eye(vocabulary)
        # Every token looks for digits, and each place further back costs some thirty nats: the last
        # one has all the attention.
        sharp = 16 * CONTEXT**0.5
        attention = layer.self_attn
        attention.q_proj.weight[_SLOW, :vocabulary] = sharp * np.cos(0.5)
        attention.q_proj.weight[_SLOW + _HEAD_DIM // 2, :vocabulary] = sharp * np.sin(0.5)
        attention.k_proj.weight[_SLOW, digits] = sharp
        for k, token in enumerate(digits):
            attention.v_proj.weight[k, token] = 1
            attention.o_proj.weight[vocabulary + k, k] = 1
            model.lm_head.weight[token, vocabulary + k] = _COPIED
        model.lm_head.weight[:, :vocabulary] = torch.from_numpy(logits.T)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
