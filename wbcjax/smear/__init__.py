"""Smear fields and their cells: readers of annotation files, checks on what they say, and a synthetic renderer."""
