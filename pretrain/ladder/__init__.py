"""A ladder of small runs, from which the loss and the accuracy of a larger run are foretold."""
