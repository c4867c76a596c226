"""Pretraining with MaxText: overlays, a checked start, preflight, launch on a slice, and watch."""
