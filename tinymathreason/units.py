"""Durations, sizes and counts as people read them."""

import humanize


def duration(seconds: float) -> str:
    """A span of time: 12 s, 3 min 5 s, 13 min, 2 h 4 min or 11.5 days.

    humanize's own spans are words ("2 hours and 4 minutes"), too long for a table.
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 86_400:.1f} days"


def size(value: float) -> str:
    """Bytes in powers of 1,000, as disks and networks count: 1.5 kB, 2.0 GB."""
    return humanize.naturalsize(value, format="%.1f")


def memory(value: float) -> str:
    """Bytes in powers of 1,024, as memory is counted: 1.50 GiB."""
    return humanize.naturalsize(value, binary=True, format="%.2f")


def count(value: float) -> str:
    """A large number in words: 1.2 million."""
    return humanize.intword(value, format="%.1f")
