"""Converts MaxText checkpoints to Hugging Face models, proves them equal, and converts them back.

Imports need neither MaxText nor torch; only `conversion.parity` loads them, when it runs.
"""
