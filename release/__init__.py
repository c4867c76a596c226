"""The records of a run in, a report out."""
