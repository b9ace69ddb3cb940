"""The config and the facts of a training run, from its folder or from its exported model."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from wbcjax.runs.model_file import read_settings
from wbcjax.settings.older_runs import upgrade
from wbcjax.settings.parts import Trust, check_trusted, imported
from wbcjax.system import run_files

# The tasks of wbcjax, and the uses of a run: to find cells of fields, or to name crops.
DETECTION, CLASSIFICATION = "detection", "classification"


def evaluation_folder(workdir: str | Path, scored: str, checkpoint: str) -> Path:
    """The folder of a run's scores on `scored`, such as "val", by its "best" or "latest" checkpoint."""
    return Path(workdir) / run_files.EVALUATION / (scored if checkpoint == "best" else f"{scored}_{checkpoint}")


def report_path(workdir: Path, evaluation: Path) -> Path:
    """The page of an evaluation: runs/X/report.html for the best weights on val, else a file in its folder."""
    of_run = evaluation == evaluation_folder(workdir, "val", "best")
    return (workdir if of_run else evaluation) / run_files.REPORT


def load_config(place: str | Path, trust_parts: Trust = False) -> ConfigDict:
    """The config that a run was trained with, or an exported model's run.

    Raises FileNotFoundError without one, ValueError for a broken file, Untrusted for parts from outside of wbcjax.
    """
    config = _config_of(place)
    check_trusted(config, place, trust_parts)
    return config


def _config_of(place: str | Path) -> ConfigDict:
    if Path(place).is_file():
        return ConfigDict(upgrade(read_settings(Path(place))["config"]))
    path = Path(place) / run_files.CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the workdir of a training run, or an exported model")
    try:
        return ConfigDict(upgrade(dict(json.loads(path.read_text(encoding="utf-8")))))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: broken JSON ({error}); restore the file, or give another run") from error


def load_facts(place: str | Path) -> dict[str, Any]:
    """The facts that a run noted of its training data; {} where there are none. Raises ValueError for a broken file."""
    if Path(place).is_file():
        return read_settings(Path(place))["facts"]
    path = Path(place) / run_files.DATA
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no notes ({error!r}); restore the file, or delete it to do without") from error


def kind_of(config: ConfigDict) -> str:
    """The use of a run of this config: DETECTION, CLASSIFICATION, or "" for neither.

    A task from outside of wbcjax has it as `kind` of its class. Raises ConfigError where that cannot be imported.
    """
    task = _task(config)
    return getattr(imported(task, f"config.task is {task!r}"), "kind", "") if ":" in task else task


def _task(config: ConfigDict) -> str:
    return config.get("task", DETECTION)  # which a config file may leave out, and a run started from Python with it


def check_kind(config: ConfigDict, kind: str, place: str | Path) -> None:
    """Raise ValueError unless the run in the folder, or of the exported model, `place` can be used as one of `kind`."""
    if kind_of(config) != kind:
        raise ValueError(f"{place} is a run of {_task(config)}; give one of {kind}")
