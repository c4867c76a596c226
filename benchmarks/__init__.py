"""Benchmarks of speed and memory against named peers; each prints a line of JSON."""
