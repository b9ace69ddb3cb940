"""The part of its data that a run is scored on, and the note on it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from wbcjax.input.settings import DatasetSettings
from wbcjax.runs.data_note import Note, Part, changes_since, check_moved, without

log = logging.getLogger(__name__)

P = TypeVar("P", bound=Part)

UNSEEN = {  # part of a run's data -> parts whose fields it must be without
    "train": (),
    "val": ("train",),
    "test": ("train", "val"),
}


def default_part(dataset: DatasetSettings) -> str:
    """The part that a run is scored on by default: "test" where its data have one, else "val"."""
    return "test" if dataset.tests else "val"


def own_part(parts: Mapping[str, P], part: str, note: Note | None, workdir: Path, *, apart: bool, moved: bool) -> P:
    """A part of a run's own data without items that trained the run; "test" also without those that chose a checkpoint.

    Changes of the data since the run was trained are logged. `apart`: the part is in another folder than the training
    data. `moved`: the data are taken from another place. Raises ValueError when the part has nothing to score.
    """
    if part not in parts:
        raise ValueError(
            f"the data of {workdir} have no part {part!r}; they have {', '.join(parts)}. A part to test on is asked "
            "for by config.dataset.split.test_fraction, test_names or folds, before training"
        )
    if note is None:
        log.info("%s is of an earlier version and notes no data: what has changed since cannot be told", workdir)
        note = Note({name: of.items for name, of in parts.items()})
    elif moved:
        check_moved(note, parts, workdir)
    if changes := changes_since(note, {name: of.items for name, of in parts.items()}):
        log.warning("the data have changed since %s was trained: %s", workdir, changes)
    return without(parts[part], part, note.seen(*UNSEEN[part]), apart=apart) if UNSEEN[part] else parts[part]


def other_part(part: P, place: str, note: Note | None, workdir: Path) -> P:
    """Other data than a run's own, from `place`, without items whose image trained the run.

    Images that chose its checkpoint are logged, and names that it was trained on with another image. Raises ValueError
    when nothing is left.
    """
    if note is None:
        log.info("%s is of an earlier version and notes no data: it may have been trained on %s", workdir, place)
        return part
    kept = without(part, place, note.seen("train"), apart=True)
    chose = {item.image for item in note.seen("val")} & {item.image for item in kept.items}
    if chose:
        log.warning("%s: %d of %d were validated on, and chose the best checkpoint", place, len(chose), len(kept.items))
    same_names = {item.name for item in note.seen("train")} & {item.name for item in kept.items}
    if same_names:
        log.warning(
            "%s: %d have a name that the run was trained on, and another image: they are scored, as others",
            place,
            len(same_names),
        )
    return kept


def scored_note(
    part: str, checkpoint: str, count: str, left_out: int, place: str | None, *, noted: bool = True
) -> dict[str, Any]:
    """The entry of scores.json on the scored data: a "sentence" to read, and single values.

    `count` is such as "60 fields"; `place` is that of other data than the run's own; `noted`: whether the run notes its
    data.
    """
    if place is not None:
        trained = "none of which the model was trained on"
        scored = f"{count} of {place}, {trained if noted else 'on some of which the model may have been trained'}"
    elif part == "train":
        scored = f"the {count} of train, which the model was trained on"
    elif part == "test":
        scored = f"the {count} of test, which neither trained the model nor chose its checkpoint"
    elif checkpoint == "best":
        scored = f"the {count} of val, which did not train the model but chose its checkpoint"
    else:
        scored = f"the {count} of val, which neither trained the model nor chose this checkpoint, the latest"
    if left_out:
        scored += f"; {left_out} left out, as the run has seen them"
    return {
        "part": part if place is None else place,
        "chose_checkpoint": place is None and part == "val" and checkpoint == "best",
        "left_out": left_out,
        "sentence": f"Scored: {scored}.",
    }
