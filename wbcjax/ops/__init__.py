"""Detection geometry as pure functions of arrays: one image at a time, float32, static shapes."""
