"""Hooks of mkdocs: pages made from files outside docs/, and the reference of configuration keys.

The reference is read from the source code of the classes marked ``@config``, without importing
them: a key's name, type, default and the docstring under it. The pages made here are not in git.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site, and the files at the project's root that they are made from."""

ROOMS = {
    "data_prep": "Recipes, in `data_prep/recipes/`.",
    "sft": "Fine-tuning, in `sft/configs/`. TRL's own keys stand beside these: those of its "
    "[SFTConfig](https://huggingface.co/docs/trl/sft_trainer), "
    "[DPOConfig](https://huggingface.co/docs/trl/dpo_trainer) or "
    "[GRPOConfig](https://huggingface.co/docs/trl/grpo_trainer), and of its ModelConfig.",
}
"""Introductions to the sections of some rooms."""

INTRODUCTION = """# Configuration keys

Every key that this project reads from YAML. On a command line, `--key value` or `key=value`
replaces a value; nested keys have dots. Overlays for pretraining hold
[MaxText's keys](https://maxtext.readthedocs.io/), and preflight refuses an unknown one.
"""


@dataclass(frozen=True)
class Key:
    """One field of a configuration."""

    name: str
    kind: str
    """The type as the source code has it."""
    default: str | None
    """The default as the source code has it; None for a key that must be given."""
    meaning: str


@dataclass(frozen=True)
class Configuration:
    """One class marked ``@config``."""

    name: str
    module: str
    meaning: str
    bases: list[str]
    """Names of the classes whose keys it has too."""
    keys: list[Key]


def configurations(path: Path, module: str) -> Iterator[Configuration]:
    """The configurations in a module's source code.

    Raises `PluginError` naming a class or a key that has no docstring.
    """
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(mark).split("(")[0] == "config" for mark in node.decorator_list
        ):
            keys = []
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
                    if "ClassVar" in kind:
                        continue
                    meaning = _text(after)
                    if not meaning:
                        raise PluginError(f"{module}.{node.name}.{name} has no docstring")
                    default = ast.unparse(field.value) if field.value else None
                    keys.append(Key(name, kind, default, meaning))
            meaning = ast.get_docstring(node) or ""
            if not meaning:
                raise PluginError(f"{module}.{node.name} has no docstring")
            bases = [ast.unparse(base) for base in node.bases]
            yield Configuration(node.name, module, meaning, bases, keys)


def _text(node: ast.stmt | None) -> str:
    """The string that a statement consists of; empty for any other statement."""
    constant = node.value if isinstance(node, ast.Expr) else None
    value = constant.value if isinstance(constant, ast.Constant) else None
    return value if isinstance(value, str) else ""


def reference(root: Path = ROOT) -> str:
    """The page of all configuration keys, a section a room and a table a class."""
    listed = [
        configuration
        for folder in sorted(root.iterdir())
        if (folder / "__init__.py").is_file() and folder.name != "tests"
        for path in sorted(folder.rglob("*.py"))
        for configuration in configurations(
            path, ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        )
    ]
    names = {configuration.name for configuration in listed}
    used = {
        word
        for configuration in listed
        for words in (*configuration.bases, *(key.kind for key in configuration.keys))
        for word in re.findall(r"\w+", words)
    }
    lines, room = [INTRODUCTION], ""
    # What a file as a whole holds comes before its parts.
    for one in sorted(listed, key=lambda c: (c.module.split(".")[0], c.name in used, c.module)):
        if one.module.split(".")[0] != room:
            room = one.module.split(".")[0]
            lines += [f"## {room}\n", ROOMS.get(room, ""), ""]
        lines += [f"### {one.name}\n", f"{_markdown(one.meaning)} (`{one.module}`)\n"]
        inherited = [base for base in one.bases if base in names]
        if inherited:
            links = ", ".join(f"[{base}](#{base.lower()})" for base in inherited)
            lines.append(f"It also has the keys of {links}.\n")
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(key, names) for key in one.keys]
        lines.append("")
    return "\n".join(lines)


def _row(key: Key, names: set[str]) -> str:
    parts = [word for word in re.findall(r"\w+", key.kind) if word in names]
    kind = f"`{key.kind.replace(' | ', ' or ')}`"
    if parts:
        kind = f"[{kind}](#{parts[0].lower()})"
    default = "required" if key.default is None else f"`{key.default}`"
    made = re.fullmatch(r"field\(default_factory=(\w+)\)", key.default or "")
    if made:
        default = "its own defaults" if made[1] in names else "empty"
    return f"| `{key.name}` | {kind} | {default} | {_markdown(key.meaning)} |"


def _markdown(docstring: str) -> str:
    """A docstring as the text of one table cell."""
    return " ".join(docstring.replace("``", "`").split()).replace("|", "\\|")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made here."""
    made = {page: (ROOT / name).read_text(encoding="utf-8") for page, name in PAGES.items()}
    made["reference.md"] = reference()
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point the links that suit the project's folders to the pages of the site."""
    markdown = markdown.replace("](docs/", "](").replace("](../", "](")
    markdown = markdown.replace("](development.md#documentation)", "](reference.md)")
    for page, name in PAGES.items():
        markdown = markdown.replace(f"]({name}", f"]({page}")
    # Not a page of the site.
    return markdown.replace("[CITATION.cff](CITATION.cff)", "`CITATION.cff`")
