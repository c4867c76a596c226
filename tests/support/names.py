"""Names that a careless reader takes for more than a name."""

NAMES = [
    "d[1]", "[a-c]", "[", "a b", "\u00e9", "*", "?", "{a,b}", "$HOME", "${x}", "%20", "~", "#1",
    "a;b", "a: b", "'", '"', "a::b", "-x", "&", "\\", "a=b",
]  # fmt: skip
"""Names of folders and files with the special characters of patterns, shells and addresses."""
