"""Records: a model of every JSON file that one room writes and another reads.

A writer makes the model and calls its ``write``; a reader calls ``load`` and uses nothing else.
Only ``config.json`` of a converted model has none here: its form is transformers'.
"""
