"""Speed and memory against named peers; each prints one line of JSON."""
