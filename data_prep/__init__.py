"""Builds a mixture of ArrayRecord files from public datasets: reads, cleans and tokenises them."""
