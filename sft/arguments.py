"""Words of a command line in; the values of our keys and of TRL's out.

A key is given as ``--key value``, ``--key=value`` or ``key=value``, a nested one with dots. A word
after ``--key`` is its value, whatever it looks like, as long as the key takes one more.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.config import parse_overrides


@dataclass
class Arguments:
    """What was given."""

    overrides: dict[str, Any] = field(default_factory=dict)
    """Values of our keys and of nested ones of TRL's, read as YAML, to lay over those of a file."""
    options: dict[str, list[str]] = field(default_factory=dict)
    """The words given for TRL's other keys; none for a switch that stands alone."""

    def words(self) -> list[str]:
        """``options`` as TRL's parser takes them."""
        found = []
        for key, values in self.options.items():
            found += [f"--{key}={values[0]}"] if len(values) == 1 else [f"--{key}", *values]
        return found


def read(
    words: Sequence[str],
    ours: Collection[str],
    theirs: Mapping[str, Any],
    unknown: Callable[[str], InputError],
) -> Arguments:
    """Read a command line; of a key that is given twice the last value counts.

    ``ours`` are our keys, which take one value each, also those that TRL has too; ``theirs`` are
    TRL's with argparse's ``nargs``; ``unknown`` makes the error for a key that is neither. Raises
    `InputError` also for a key without a value and for a word that belongs to no key.
    """

    def known(name: str) -> str:
        head, dot, rest = name.partition(".")
        for spelling in (head.replace("-", "_"), head):
            if spelling in ours or spelling in theirs:
                return f"{spelling}{dot}{rest}"
        raise unknown(head)

    def takes(key: str, values: list[str], word: str) -> bool:
        """Whether a word after ``--key`` is one more of its values."""
        head = word.partition("=")[0].partition(".")[0]
        pair = "=" in word and (head in ours or head in theirs)
        nargs = None if key in ours else theirs.get(key)
        if nargs == "?":  # a switch, whose value is true or false
            return not values and not pair
        if nargs in ("+", "*"):
            return not values or not pair
        return nargs is None and not values

    pairs: list[tuple[str, list[str]]] = []
    open_key = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            pairs.append((known(name), [value] if equals else []))
            open_key = "" if equals else pairs[-1][0]
        elif open_key and takes(open_key, pairs[-1][1], word):
            pairs[-1][1].append(word)
        elif "=" in word:
            name, _, value = word.partition("=")
            pairs.append((known(name), [value]))
            open_key = ""
        else:
            raise InputError(f"argument {word!r}: belongs to no key; expected --key value")
    found, laid_over = Arguments(), []
    for key, values in pairs:
        if key in theirs and key not in ours:
            found.options[key] = values
        elif values:
            laid_over.append(f"{key}={values[0]}")
        else:
            raise InputError(f"argument --{key}: has no value; expected --{key} value")
    found.overrides = parse_overrides(laid_over)
    return found
