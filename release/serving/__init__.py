"""Serves a chat model: a web page and an OpenAI-compatible endpoint in one process."""
