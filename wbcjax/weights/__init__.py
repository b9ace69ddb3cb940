"""Weights of other libraries, converted to our variables."""
