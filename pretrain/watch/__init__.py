"""Show the progress of a training run from the files that MaxText writes."""
