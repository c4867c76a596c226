"""Chat messages, and the special tokens in the order of their ids.

Padding is id 0 because Grain fills packed rows with zeros. It is not the end-of-text token, because
MaxText masks every padding target and the model would then never learn to stop.
"""

from pathlib import Path

PAD = "<|pad|>"
EOS = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
RESERVED = tuple(f"<|reserved_{i}|>" for i in range(10))
SPECIAL_TOKENS = (PAD, EOS, IM_START, IM_END, "<think>", "</think>", *RESERVED)

TEMPLATE = Path(__file__).parent / "chat_templates" / "chatml.jinja"
"""The project's chat template; its generation blocks mark the tokens that are trained on."""

Messages = list[dict[str, str]]
"""A conversation, as chat templates expect it."""


def conversation(question: str, solution: str | None = None) -> Messages:
    """A question, and its solution when there is one, as chat messages."""
    messages = [{"role": "user", "content": question}]
    if solution is not None:
        messages.append({"role": "assistant", "content": solution})
    return messages
