"""The checks of a model's folder before it is published."""
