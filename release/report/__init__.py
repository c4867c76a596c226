"""The report of a pipeline's run: a table, a Markdown file and one HTML page."""

LABELS = {
    "data": "data preparation",
    "pretrain": "pretraining",
    "conversion": "conversion and parity",
    "sft": "fine-tuning",
    "evaluate_base": "evaluation, base",
    "evaluate_sft": "evaluation, tuned",
}
"""What the stages of a pipeline are called in a report."""
