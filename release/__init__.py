"""The last stage: a run's report, a model's card, its publication, and a server to ask it."""
