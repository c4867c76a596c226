"""What a model card says, each part from the records that hold it."""
