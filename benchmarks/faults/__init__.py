"""What becomes of a training that is disturbed: `python -m benchmarks.faults`."""
