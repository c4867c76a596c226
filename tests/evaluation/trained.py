"""A tiny model that has learned a little arithmetic: it is often right and often wrong."""

import itertools
from pathlib import Path

from data_prep import arithmetic
from tinymathreason.chat import Chat
from tinymathreason.chatml import SPECIAL_TOKENS, TEMPLATE, conversation

STEPS, ROWS, PROBLEMS = 120, 24, 48


def train(random_model: Path, folder: Path) -> None:
    """Tune the model of a folder on problems, as chat and as plain text, into another folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_model)
    tokenizer.chat_template = TEMPLATE.read_text()
    model = AutoModelForCausalLM.from_pretrained(random_model)
    end = SPECIAL_TOKENS.index("<|im_end|>")
    model.generation_config.eos_token_id = [end]
    made = list(itertools.islice(arithmetic.problems(0, held_out=True), PROBLEMS))
    chat = Chat(tokenizer, tokenizer.chat_template)
    rows = [e.ids for e in chat.encode([conversation(p.question, p.solution) for p in made])]
    plain = [arithmetic.plain_problem(p.question, p.solution) for p in made]
    rows += [[*tokenizer(text)["input_ids"], end] for text in plain]
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        batch = [rows[i] for i in torch.randperm(len(rows))[:ROWS].tolist()]
        longest = max(map(len, batch))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        loss = model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
