"""Check an overlay before a slice is rented: compile its train step and estimate time and price."""
