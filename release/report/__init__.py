"""The report of a pipeline's run: a table, a Markdown file and one HTML page."""

LABELS = {
    "open_model": "open model",
    "evaluate_start": "evaluation, open model",
    "to_maxtext": "conversion to MaxText",
    "and_back": "and back, with parity",
    "same_bytes": "bytes there and back",
    "data": "data preparation",
    "pretrain": "pretraining",
    "conversion": "conversion and parity",
    "sft": "fine-tuning",
    "evaluate_base": "evaluation, base",
    "evaluate_sft": "evaluation, tuned",
}
"""What the stages of a pipeline are called in a report."""
