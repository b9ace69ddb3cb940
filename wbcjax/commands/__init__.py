"""What the commands of `wbcjax`, `train.py` and `evaluate.py` take and tell; a folder for each.

What a command of `wbcjax` runs on is imported when it runs.
"""
