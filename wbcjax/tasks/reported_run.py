"""What the page of an evaluation tells of its run, and the title of a run's model."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.report.run_report import ReportedRun
from wbcjax.runs.folder import CLASSIFICATION, task_of
from wbcjax.runs.log import read_log
from wbcjax.system import run_files
from wbcjax.system.runtime import environment


def title(config: ConfigDict) -> str:
    """Of the model that a whole experiment's `config` describes, such as "Mask R-CNN on ResNet-50"."""
    if task_of(config) == CLASSIFICATION:
        return "EfficientNet"
    return f"Mask R-CNN on ResNet-{config.model.backbone.depth}"


def reported_run(
    workdir: str | Path,
    config: ConfigDict,
    dataset: FieldSetSettings | CropSetSettings,
    scored: str,
    splits: Mapping[str, Mapping[str, int]],
) -> ReportedRun:
    """The run of `workdir`, scored on `scored` of `dataset`. `splits` are the other parts of that, counted."""
    log = Path(workdir) / run_files.METRICS
    return ReportedRun(
        name=Path(workdir).resolve().name,
        model=title(config),
        config=config.to_dict() | {"dataset": dataclasses.asdict(dataset)},
        scored=scored,
        splits=splits,
        records=read_log(log) if log.is_file() else (),
        environment=environment(),
    )
