"""Records: a model of every JSON file that one room writes and another reads.

A writer makes the model and calls its ``write``; a reader calls ``load`` and uses nothing else.
Two files have no model here, since their form is another program's: ``mixture.json`` is MaxText's
and ``config.json`` of a converted model is transformers'.
"""
