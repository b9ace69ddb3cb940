"""The number of cells of each class in the parts of a set, logged whenever a training starts."""

import logging
from collections.abc import Mapping, Sequence

from wbcjax.system.terminal import Table, plain

log = logging.getLogger(__name__)

Counts = Mapping[str, Mapping[str, int]]


def tell_classes(counts: Counts, classes: Sequence[str]) -> None:
    """Log a table of cells by class and part, and warn of classes that cannot be learned, or not be scored.

    counts: by part its `counts()`: all "fields" or "crops" first, then the cells, or crops, of each class.
    """
    parts = list(counts)
    rows = [name for name in counts[parts[0]] if name not in classes] + list(classes)
    table = Table("Data", ("", *parts), tuple((row, *(f"{counts[part][row]}" for part in parts)) for row in rows))
    log.info("cells of each class\n%s", plain(table).rstrip())
    for warning in class_warnings(counts, classes):
        log.warning(warning)


def class_warnings(counts: Counts, classes: Sequence[str]) -> list[str]:
    """A sentence for each class that no cell trains, or that a part to score on lacks."""
    sentences = []
    for name in classes:
        of = {part: found[name] for part, found in counts.items()}
        if not any(of.values()):
            sentences.append(
                f"class {name!r} has no cells in any part: take it out of dataset.classes, or look at how the "
                "annotations name it (dataset.class_of)"
            )
        elif not of.get("train"):
            others = ", ".join(f"{count} in {part}" for part, count in of.items() if count)
            sentences.append(
                f"class {name!r} has no cells in train, and {others}: it is not learned, and all of these count as "
                "missed; change dataset.split, or annotate more"
            )
        else:
            sentences += [
                f"class {name!r} has no cells in {part}: its scores there are not defined"
                for part, count in of.items()
                if not count
            ]
    return sentences
