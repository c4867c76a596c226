"""What every room shares: one-line errors, checked configs, safe writes, records of a run."""
