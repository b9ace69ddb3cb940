"""Flax linen modules that hold weights: ResNet, FPN, RPN, box and mask heads, and Mask R-CNN made of them."""
