"""Settings from outside, checked by their types."""
