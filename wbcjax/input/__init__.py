"""Input: TFDS sets of annotated fields and of crops, split, augmented and batched, in NumPy and without jax."""
