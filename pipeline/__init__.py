"""Runs the stages of a whole pipeline, from raw data to a measured model, as commands."""
