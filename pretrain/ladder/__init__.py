"""The ladder: small runs that foretell the loss and the accuracy of a large one."""
