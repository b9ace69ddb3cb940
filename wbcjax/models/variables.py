"""The types of what holds a model's arrays."""

from typing import Any

Tree = Any  # nested dictionaries of arrays
Variables = dict[str, Tree]  # flax's collections by name: "params" and any others, such as "batch_stats"
