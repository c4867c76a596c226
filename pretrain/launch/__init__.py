"""Train on a TPU slice: create it, start and restart the training, and delete the slice."""
