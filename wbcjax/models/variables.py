"""The types of a model's variables."""

from typing import Any

Tree = Any  # nested dictionaries of arrays
Variables = dict[str, Tree]  # flax's collections by name: "params" and any others, such as "batch_stats"
