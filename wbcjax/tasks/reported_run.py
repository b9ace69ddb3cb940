"""A run as the page of its evaluation describes it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.report.run_report import ReportedRun
from wbcjax.runs.log import read_log
from wbcjax.system import run_files
from wbcjax.system.runtime import environment


def reported_run(
    workdir: str | Path,
    title: str,
    config: Mapping[str, Any],
    dataset: FieldSetSettings | CropSetSettings,
    scored: str,
    splits: Mapping[str, Mapping[str, int]],
) -> ReportedRun:
    """The run of `workdir`, of a model of that title, scored on `scored` of `dataset`.

    config: of the whole run. splits: the other parts of the data, counted.
    """
    log = Path(workdir) / run_files.METRICS
    return ReportedRun(
        name=Path(workdir).resolve().name,
        model=title,
        config={**config, "dataset": dataclasses.asdict(dataset)},
        scored=scored,
        splits=splits,
        records=read_log(log) if log.is_file() else (),
        environment=environment(),
    )
