"""Settings of whole configs, and scores of runs, as the tests of several rooms want them."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from wbcjax.runs.folder import load_config
from wbcjax.tasks.choose import experiment_of
from wbcjax.tasks.classification import evaluate_classifier
from wbcjax.tasks.detection import Detection, evaluate_run
from wbcjax.tasks.experiment import Scored

VAL = Scored("val")


def model_of(config: ConfigDict) -> Any:
    """The settings of the model."""
    return experiment_of(config).settings.model


def scores_of(run: Path, out: Path, asked: Scored = VAL, trust_parts: bool = False) -> Any:
    """What the evaluation of the latest checkpoint returns."""
    experiment: Any = experiment_of(load_config(run, trust_parts))
    evaluate: Any = evaluate_run if isinstance(experiment, Detection) else evaluate_classifier
    return evaluate(experiment, run, "latest", asked, out)
