"""Trainings that are disturbed on purpose: `python -m benchmarks.faults`."""
