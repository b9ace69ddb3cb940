"""The commands of `wbcjax`, `train.py` and `evaluate.py`: their arguments, work and output; a folder for each.

The modules of a command of `wbcjax` are imported when it runs.
"""

VERBS = (
    "train",
    "evaluate",
    "predict",
    "review",
    "inspect",
    "enhance",
    "crop",
    "convert",
    "config",
    "weights",
    "export",
    "experiment",
    "plan",
)
