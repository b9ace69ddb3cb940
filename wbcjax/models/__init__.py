"""Flax linen modules that hold weights: backbones, FPN, RPN, heads, Mask R-CNN made of them, and EfficientNet."""
