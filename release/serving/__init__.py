"""A model answering questions: a page and an OpenAI-compatible endpoint, in one process."""
