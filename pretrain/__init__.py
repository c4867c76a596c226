"""What surrounds upstream's trainer: overlays in, a checked start of MaxText out."""
