"""The grammar of every command line: a command's own options, and keys of its configuration.

A key is given as ``--key value``, ``--key=value`` or ``key=value``, a nested key with dots. The
word after ``--key`` is its value whatever it looks like, as long as the key takes one more.
"""

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError


@dataclass
class Arguments:
    """A command line, sorted."""

    overrides: list[str] = field(default_factory=list)
    """Values that replace those of a configuration, as ``key=value``."""
    options: list[tuple[str, list[str]]] = field(default_factory=list)
    """The command's own options, each with its values; a switch may have none."""
    positionals: list[str] = field(default_factory=list)
    """The words that belong to no key."""

    def words(self) -> list[str]:
        """``positionals`` and ``options``, as argparse reads them."""
        words = [*self.positionals]
        for name, values in self.options:
            words += [f"--{name}={values[0]}"] if len(values) == 1 else [f"--{name}", *values]
        return words


def read(
    words: Sequence[str],
    options: Mapping[str, Any],
    keys: Collection[str] | None = None,
    unknown: Callable[[str], InputError] | None = None,
) -> Arguments:
    """Sort the words of a command line.

    ``options`` are the names of the command's own options, without dashes, each with argparse's
    ``nargs``. ``keys`` are the top-level keys of the configuration, which take one value each and
    come before an option of the same name; None accepts any name that is no option. ``unknown``
    makes the error for a name that is neither. Raises `InputError` also for a key without a value.
    """
    keyed = options.keys() if keys is None else options.keys() | set(keys)

    def known(name: str) -> str:
        head, dot, rest = name.partition(".")
        for spelling in (head.replace("-", "_"), head):
            if spelling in keyed:
                return f"{spelling}{dot}{rest}"
        if unknown is not None:
            raise unknown(head)
        return f"{head.replace('-', '_')}{dot}{rest}"

    def is_option(key: str) -> bool:
        return key in options and (keys is None or key not in keys)

    def is_pair(word: str) -> bool:
        head, equals, _ = word.partition("=")
        if keys is None:
            return bool(equals) and not Path(word).exists()
        return bool(equals) and head.partition(".")[0] in keyed

    def takes(key: str, values: list[str], word: str) -> bool:
        """Whether a word after ``--key`` is one more of its values."""
        match options.get(key) if is_option(key) else None:
            case "?":  # a switch, whose value is true or false
                return not values and not is_pair(word)
            case "+" | "*":
                return not values or not is_pair(word)
            case int(count):
                return len(values) < count
            case _:
                return not values

    given: list[tuple[str, list[str]]] = []
    positionals = []
    open_key = ""
    for word in words:
        if word.startswith("--") and word != "--":
            name, equals, value = word[2:].partition("=")
            given.append((known(name), [value] if equals else []))
            open_key = "" if equals else given[-1][0]
        elif open_key and takes(open_key, given[-1][1], word):
            given[-1][1].append(word)
        elif "=" in word and (keys is not None or is_pair(word)):
            name, _, value = word.partition("=")
            given.append((known(name), [value]))
            open_key = ""
        else:
            positionals.append(word)
    result = Arguments(positionals=positionals)
    for key, values in given:
        if is_option(key):
            result.options.append((key, values))
        elif values:
            result.overrides.append(f"{key}={values[0]}")
        else:
            raise InputError(f"argument --{key}: has no value; expected --{key} value")
    return result


def parse_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command that takes keys of a configuration beside its own options.

    The keys are in ``overrides``, as ``key=value``; a positional of that name documents them.
    Raises `InputError` for a word that is neither.
    """
    given = read(argv, _options(parser))
    arguments = parser.parse_args(given.words())
    refuse(arguments.overrides)
    arguments.overrides = given.overrides
    return arguments


def refuse(words: Sequence[str]) -> None:
    """Raise `InputError` for the first of the words, which belong to no key."""
    for word in words:
        raise InputError(f"argument {word!r}: belongs to no key; expected --key value")


def positive(text: str) -> int:
    """The value of an option that takes a whole number from 1 on."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be at least 1 (got {text})")
    return int(text)


def _options(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The options of a parser and of its subcommands: their names and how many words each takes."""
    options: dict[str, Any] = {}
    for action in parser._actions:
        options |= {name.removeprefix("--"): action.nargs for name in action.option_strings}
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                options |= _options(command)
    return options
