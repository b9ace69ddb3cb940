"""Training and evaluation of the task that a config asks for; what it runs on is imported when it is known."""

from pathlib import Path

from ml_collections import ConfigDict

from wbcjax.run import CLASSIFICATION, load_config, task_of
from wbcjax.run_report import report_path
from wbcjax.train.task import Task


def make_task(config: ConfigDict) -> Task:
    """Data and model of `config`, for the training loop; builds its data set when there is none yet.

    Raises OSError or ValueError for settings or data that cannot be used.
    """
    if task_of(config) == CLASSIFICATION:
        from wbcjax.classification import classification_task

        return classification_task(config)
    from wbcjax.detection import detection_task

    return detection_task(config)


def evaluate(
    workdir: Path,
    split: str,
    checkpoint: str,
    *,
    annotations: str | None = None,
    images: str | None = None,
    drawn_seed: int | None = None,
    crops: str | None = None,
) -> str:
    """Score a run, and return what is to be told of it: tables, and where the rest is written.

    See `evaluate_run` and `evaluate_classifier` for what is scored. Raises OSError or ValueError for what cannot be.
    """
    classifies = task_of(load_config(workdir)) == CLASSIFICATION
    if bool(annotations) != bool(images):
        raise ValueError("--annotations and --images go together")
    if classifies and (annotations or drawn_seed is not None):
        raise ValueError(f"{workdir} is a run of classification: score it on other crops, by --crops")
    if crops and not classifies:
        raise ValueError(f"{workdir} is a run of detection: score it on other fields, by --annotations and --images")
    name = _folder_name(split, annotations, drawn_seed, crops)
    out = Path(workdir) / "evaluation" / name
    if classifies:
        from wbcjax.classification import evaluate_classifier
        from wbcjax.evaluate.classification_table import classification_table

        told = classification_table(evaluate_classifier(workdir, split, checkpoint, out, crops))
    else:
        from wbcjax.detection import all_tables, evaluate_run

        told = all_tables(evaluate_run(workdir, split, checkpoint, out, annotations, images, drawn_seed))
    return f"{told}\n\nThe report is {report_path(workdir, out)}; scores.json and what it rests on are in {out}"


def _folder_name(split: str, annotations: str | None, drawn_seed: int | None, crops: str | None) -> str:
    """Where in the run's `evaluation` a result goes: for other data two names of its path, to tell it from others."""
    if drawn_seed is not None:
        return f"drawn_{drawn_seed}"
    if other := annotations or crops:
        *_, parent, name = Path(other).resolve().with_suffix("").parts
        return f"{parent}_{name}"
    return split
