"""The stages of a build; `data_prep.executors` runs them in order."""
