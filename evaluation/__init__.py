"""Measures the accuracy of a model on a benchmark, with its confidence interval."""
