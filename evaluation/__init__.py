"""A model folder and a task in, an accuracy with its interval out."""
