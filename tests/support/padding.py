"""Tables without the spaces that align them."""

import re


def squeezed(text: str) -> str:
    """A text in which a run of spaces is one."""
    return re.sub(" {2,}", " ", text)
