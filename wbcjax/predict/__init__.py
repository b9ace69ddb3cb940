"""A trained model on images."""
