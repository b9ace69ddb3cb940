"""Training and evaluation of the task that a config asks for; what it runs on is imported when it is known."""

from pathlib import Path

from ml_collections import ConfigDict

from wbcjax.runs.folder import CLASSIFICATION, evaluation_folder, load_config, report_path, task_of
from wbcjax.system import run_files
from wbcjax.system.places import check_out, check_writable, name_of
from wbcjax.tasks.scored_part import default_part
from wbcjax.tasks.settings import dataset_of
from wbcjax.train.task import Task


def make_task(config: ConfigDict, workdir: Path | None = None) -> Task:
    """Data and model of `config`, for the training loop in `workdir`; builds its data set when there is none yet.

    What a run in `workdir` was trained on before does not validate, whatever has become of the data since.

    Raises OSError or ValueError for settings or data that cannot be used.
    """
    if task_of(config) == CLASSIFICATION:
        from wbcjax.tasks.classification import classification_task

        return classification_task(config, workdir)
    from wbcjax.tasks.detection import detection_task

    return detection_task(config, workdir)


def evaluate(
    workdir: Path,
    split: str | None,
    checkpoint: str,
    *,
    annotations: str | None = None,
    images: str | None = None,
    drawn_seed: int | None = None,
    crops: str | None = None,
    out: str | None = None,
    trust_parts: bool = False,
) -> str:
    """Score a run, and return what is to be told of it: tables, and where the rest is written.

    `split` None is "test" where the run has such a part, else "val". See `evaluate_run` and `evaluate_classifier` for
    what is scored. The rest is written into `out`, a new or an empty folder, or else into one in the run's
    `evaluation`, of which there is one for each checkpoint and all that was scored; there it replaces what the same
    call has written before. `trust_parts` says whether to run code from outside of wbcjax that the run's config names.
    Raises OSError or ValueError for what cannot be, Untrusted as `load_config`.
    """
    config = load_config(workdir, trust_parts)
    classifies, split = task_of(config) == CLASSIFICATION, split or default_part(dataset_of(config))
    if bool(annotations) != bool(images):
        raise ValueError("--annotations and --images go together")
    if classifies and (annotations or drawn_seed is not None):
        raise ValueError(f"{workdir} is a run of classification: score it on other crops, by --crops")
    if crops and not classifies:
        raise ValueError(f"{workdir} is a run of detection: score it on other fields, by --annotations and --images")
    scored = _name_of_scored(split, annotations, images, drawn_seed, crops)
    place = Path(out) if out else evaluation_folder(workdir, scored, checkpoint)
    _check_place(place, workdir, given=bool(out))
    if classifies:
        from wbcjax.evaluate.classification_table import classification_table
        from wbcjax.tasks.classification import evaluate_classifier

        found = evaluate_classifier(workdir, split, checkpoint, place, crops, trust_parts)
        told = classification_table(found)
    else:
        from wbcjax.tasks.detection import all_tables, evaluate_run

        found = evaluate_run(
            workdir, split, checkpoint, place, annotations, images, drawn_seed, trust_parts=trust_parts
        )
        told = all_tables(found)
    places = f"The report is {report_path(workdir, place)}; {run_files.SCORES} and what it rests on are in {place}"
    return f"{found['scored']['sentence']}\n\n{told}\n\n{places}"


def _check_place(place: Path, workdir: Path, given: bool) -> None:
    """Refuse a place for results before anything is scored: see `check_out`, where it was `given`."""
    try:
        if given:
            check_out(place)
        check_writable(place)
        check_writable(report_path(workdir, place).parent)
    except OSError as error:
        if error.errno is None:  # not the system's
            raise
        raise ValueError(
            f"{error.filename}: results cannot be written there ({error.strerror}): give another folder by --out"
        ) from error


def _name_of_scored(
    split: str, annotations: str | None, images: str | None, drawn_seed: int | None, crops: str | None
) -> str:
    """What is scored, as the name of a folder, which no other data have."""
    if drawn_seed is not None:
        return f"drawn_{drawn_seed}"
    if others := [place for place in (annotations, images, crops) if place]:
        return name_of(*others)
    return split
