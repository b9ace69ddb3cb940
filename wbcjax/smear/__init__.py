"""Smear fields and their cells: readers of annotation files, checks of their content, and a synthetic renderer."""
