"""Input: TFDS sets of annotated fields, split, augmented and batched. Numpy only; jax never enters here."""
