"""A ladder of small runs that foretells the loss and the accuracy of a large one."""
