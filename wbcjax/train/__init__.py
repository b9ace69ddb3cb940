"""Training: one loop for every task, from the plan of a run to its checkpoints."""
