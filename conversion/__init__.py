"""A MaxText checkpoint in, a Hugging Face model folder out, proven equal.

Imports need neither MaxText nor torch; only `conversion.parity` loads them, when it runs.
"""
