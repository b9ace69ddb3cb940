"""The note in data.json of the data that trained a run and chose its checkpoint; the run is not scored on them."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from wbcjax.input.digest import Item
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.runs.folder import load_facts
from wbcjax.runs.located import located
from wbcjax.system import run_files
from wbcjax.train.checkpoint import checkpoint_directory

log = logging.getLogger(__name__)

NOTE = "data"  # its key in data.json
NAMED = 3  # names given of many
PLACES = ("annotations", "images", "crops", "val_crops", "test_crops")  # of `config.dataset`: paths
NAME_LISTS = ("train_names", "val_names", "test_names")  # of `config.dataset.split`: they may name text files

Items = tuple[Item, ...]


@runtime_checkable
class Part(Protocol):
    """Fields or crops: a `Source` or a `CropSource`."""

    @property
    def items(self) -> Items: ...
    def select(self, rows: Sequence[int]) -> Any: ...


P = TypeVar("P", bound=Part)
Dataset = TypeVar("Dataset", FieldSetSettings, CropSetSettings)


@dataclass(frozen=True)
class Note:
    """The data of a run: the items of its parts at its last start, and those of earlier starts."""

    parts: Mapping[str, Items]
    earlier: Mapping[str, Items] = field(default_factory=dict)  # items no longer in a part; also of `init_from`'s run
    folder: str = ""  # to which relative paths were relative

    def seen(self, *parts: str) -> Items:
        """All items that were ever in one of these parts."""
        return tuple(item for part in parts for item in (*self.parts.get(part, ()), *self.earlier.get(part, ())))

    def images(self) -> set[str]:
        """The digests of all images."""
        return {item.image for item in self.seen(*{*self.parts, *self.earlier})}

    def plain(self) -> dict[str, Any]:
        """The note for `note_in`, as JSON can write it."""
        parts, earlier = (
            {part: [item[:4] for item in items] for part, items in of.items()} for of in (self.parts, self.earlier)
        )
        return {"folder": self.folder, "parts": parts, "earlier": earlier}


def note_of(parts: Mapping[str, Part], before: Sequence[Note | None] = ()) -> Note:
    """The note of a start on `parts`, after the starts of the notes `before`."""
    now = {name: part.items for name, part in parts.items()}
    earlier: dict[str, Items] = {}
    for part in ("train", "val"):
        known = {item[:2] for item in now.get(part, ())}
        seen = [item for note in before if note is not None for item in note.seen(part)]
        earlier[part] = tuple({item[:2]: item for item in seen if item[:2] not in known}.values())
    return Note(now, earlier, str(Path.cwd()))


def note_in(facts: Mapping[str, Any], place: str | Path) -> Note | None:
    """The note among the `facts` of the run in `place`; None for an older run, which has none.

    Raises ValueError for one that is broken.
    """
    if NOTE not in facts:
        return None
    try:
        plain = facts[NOTE]
        parts, earlier = (
            {part: tuple(Item(*item) for item in items) for part, items in plain[key].items()}
            for key in ("parts", "earlier")
        )
        return Note(parts, earlier, str(plain["folder"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{place}/{run_files.DATA}: its {NOTE!r} is no note of what was trained on ({error!r}); restore the file, "
            "or delete it to do without"
        ) from error


def earlier_note(workdir: Path) -> Note | None:
    """The note of a run that has begun; None where no training has begun."""
    return note_in(load_facts(workdir), workdir) if _begun(workdir) else None


def settle_parts(
    parts: Mapping[str, P], init_from: str, workdir: Path | None, apart: Collection[str] = ()
) -> tuple[dict[str, P], Note]:
    """The parts to train with, and their note. Items that trained this run, or that of `init_from`, do not validate.

    Changes since the last start of the run in `workdir`, and items left out, are logged. In parts that are `apart` from
    the training data (another folder), names and groups do not count. Raises ValueError when nothing is left to
    validate.
    """
    before = earlier_note(workdir) if workdir is not None else None
    if before is not None and (changes := changes_since(before, {name: part.items for name, part in parts.items()})):
        log.warning("the data have changed since %s was last trained: %s; it goes on with them", workdir, changes)
    elif before is None and workdir is not None and _begun(workdir):
        log.info("%s notes no data: it is taken to have been trained on what trains now", workdir)
    started = located(init_from) if init_from else None
    origin = note_in(load_facts(started), started) if started is not None and started.is_dir() else None
    note, kept = note_of(parts, (before, origin)), dict(parts)
    if "val" in parts:
        kept["val"] = without(parts["val"], "val", note.seen("train"), apart="val" in apart)
    if "test" in parts:
        kept["test"] = without(
            parts["test"], "test", note.seen("train", "val"), apart="test" in apart, may_be_empty=True
        )
    return kept, note


def refuse_forgotten(facts: Mapping[str, Any], workdir: Path) -> None:
    """Raise ValueError when the `facts` of a task lack items that the run in `workdir` was trained on."""
    noted = earlier_note(workdir)
    known = note_in(facts, workdir)
    trained = {item[:2] for item in noted.seen("train")} if noted else set()
    if trained - {item[:2] for item in (known.seen("train") if known else ())}:
        raise ValueError(
            f"{workdir} was trained on fields that this task does not note, and might validate on: make the task by "
            "make_task(config, workdir)"
        )


def without(part: P, name: str, seen: Items, *, apart: bool = False, may_be_empty: bool = False) -> P:
    """`part` without the items that are `seen`; those left out are logged.

    Items are the same when they have the same image, under any name; unless the part is `apart`, also when they have
    the same name or group. Raises ValueError when nothing is left.
    """
    images = {item.image for item in seen if item.image}
    names = set() if apart else {item.name for item in seen}
    groups = set() if apart else {item.group for item in seen if item.group is not None}
    reasons = {}
    for row, item in enumerate(part.items):
        if item.image in images:
            reasons[row] = "the image"
        elif item.name in names:
            reasons[row] = "the name, though with another image by now"
        elif item.group in groups:
            reasons[row] = "the group"
    if not reasons:
        return part
    listed = [
        f"{count} by {reason} ({_named([part.items[row].name for row, why in reasons.items() if why == reason])})"
        for reason, count in Counter(reasons.values()).items()
    ]
    line = f"{name}: {len(reasons)} of {len(part.items)} left out, as the run has seen them: {'; '.join(listed)}"
    if len(reasons) == len(part.items) and not may_be_empty:
        raise ValueError(f"{line}. Nothing is left to score: add fields that the run has not seen")
    log.warning(line)
    return part.select([row for row in range(len(part.items)) if row not in reasons])


def changes_since(before: Note, now: Mapping[str, Items]) -> str:
    """The changes since a note was made, in words; "" where there are none."""
    then, new = _by_name(before.parts), _by_name(now)
    both = [name for name in new if name in then]
    found = {
        "added": [name for name in new if name not in then],
        "gone": [name for name in then if name not in new],
        "with another image": [name for name in both if then[name][1].image != new[name][1].image],
        "annotated otherwise": [name for name in both if then[name][1].cells != new[name][1].cells],
        "in another part": [name for name in both if then[name][0] != new[name][0]],
    }
    return ", ".join(f"{len(names)} {what} ({_named(names)})" for what, names in found.items() if names)


def in_noted_folder(dataset: Dataset, note: Note | None) -> tuple[Dataset, bool]:
    """A run's data, with relative paths resolved in the folder where it was trained.

    Paths that no longer exist there, but in the current folder, are taken from it; then the second result is True.
    """
    if note is None or not note.folder or Path(note.folder) == Path.cwd():
        return dataset, False
    moved: list[bool] = []
    places = {
        key: _in_folder(getattr(dataset, key), note.folder, moved, is_path=True)
        for key in PLACES
        if hasattr(dataset, key)
    }
    lists = {
        key: tuple(_in_folder(name, note.folder, moved, is_path=False) for name in getattr(dataset.split, key))
        for key in NAME_LISTS
    }
    return replace(dataset, **places, split=replace(dataset.split, **lists)), any(moved)


def check_moved(note: Note, parts: Mapping[str, Part], workdir: Path) -> None:
    """Raise ValueError unless the data of the current folder, taken for a run's, share an image with its note."""
    if not note.images() & {item.image for part in parts.values() for item in part.items}:
        raise ValueError(
            f"{workdir} was trained in {note.folder}, where its data are no more, and those of the same path in "
            f"{Path.cwd()} are others: put its data back, or name these by --annotations and --images, or --crops"
        )


def _begun(workdir: Path) -> bool:
    checkpoints = checkpoint_directory(workdir)
    return checkpoints.is_dir() and any(checkpoints.iterdir())


def _in_folder(path: str, folder: str, moved: list[bool], is_path: bool) -> str:
    if not path or Path(path).is_absolute() or not (is_path or path.endswith(".txt")):
        return path
    there = Path(folder, path)
    if Path(path).exists() and not there.exists():
        log.warning("%s is no longer there; %s is taken for it", there, Path(path).absolute())
        moved.append(True)
        return path
    log.info("%s is that of %s, where the run was trained, not of the current folder", path, folder)
    return str(there)


def _by_name(parts: Mapping[str, Items]) -> dict[str, tuple[str, Item]]:
    """Part and item by name, or by part and name where two folders have the same names."""
    rows = [(part, item) for part, items in parts.items() for item in items]
    unique = len({item.name for _, item in rows}) == len(rows)
    return {item.name if unique else f"{part}: {item.name}": (part, item) for part, item in rows}


def _named(names: Sequence[str]) -> str:
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])
