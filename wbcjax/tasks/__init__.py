"""What can be trained: detection and classification."""
