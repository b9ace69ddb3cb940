"""What a training run left in its folder: its config, and what it noted of its data."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

DETECTION, CLASSIFICATION = "detection", "classification"  # the tasks: cells of fields, classes of crops


def load_config(workdir: str | Path) -> ConfigDict:
    """The config that a run was trained with. Raises FileNotFoundError without one, ValueError for a broken file."""
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the workdir of a training run")
    try:
        return ConfigDict(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: broken JSON ({error}); restore the file, or give another run") from error


def load_facts(workdir: str | Path) -> dict[str, Any]:
    """What a run noted of its training data; {} for one that noted nothing. Raises ValueError for a broken file."""
    path = Path(workdir) / "data.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no notes ({error!r}); restore the file, or delete it to do without") from error


def task_of(config: ConfigDict) -> str:
    """DETECTION or CLASSIFICATION. Raises ValueError for anything else."""
    task = config.get("task", DETECTION)  # runs from before there was a choice have none
    if task not in (DETECTION, CLASSIFICATION):
        raise ValueError(f"config.task is {task!r}; give {DETECTION!r} or {CLASSIFICATION!r}")
    return task


def check_task(config: ConfigDict, task: str, workdir: str | Path) -> None:
    """Raise ValueError unless the run in `workdir` is one of `task`."""
    if task_of(config) != task:
        raise ValueError(f"{workdir} is a run of {task_of(config)}; give one of {task}")
