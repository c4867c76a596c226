"""Text in, a mixture of ArrayRecord files out: readers -> clean -> tokenizer -> records."""
