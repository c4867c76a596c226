"""Variants of worked word problems: to tell skill from memory, and to test decontamination.

`variants` makes one variant of each kind that a problem admits. It needs nothing but a question and
a solution in GSM8K's form, and the same seed gives the same bytes.
"""

from tinymathreason.variants.kinds import (
    FORMATS,
    KINDS,
    OTHER_ANSWER,
    PARTS,
    SKILL_KINDS,
    variants,
)
from tinymathreason.variants.problem import ProblemVariant

__all__ = ["FORMATS", "KINDS", "OTHER_ANSWER", "PARTS", "SKILL_KINDS", "ProblemVariant", "variants"]
