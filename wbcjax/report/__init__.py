"""Figures of what was annotated and what was found."""
