"""What is checked in a model's folder before it is published."""
