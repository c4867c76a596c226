"""The report of a pipeline's run: a table, a Markdown file and one HTML page."""
