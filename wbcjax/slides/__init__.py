"""Whole slides, read by regions."""
