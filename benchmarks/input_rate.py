"""The input alone: images a second of drawn fields with many outlined cells, and the bytes of a batch.

Fields of 1024 x 1024 pixels with 100 outlined cells, as PNG, flipped at random, in batches of two, made by as many
threads as there are cores, with nothing else at work. `kept`: all fields are kept in memory, decoded, as from the
second epoch on. `decoded each time`: none is, as in the first epoch, and beyond `config.dataset.input.keep_megabytes`.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from benchmarks.results import Result
from benchmarks.timing import Contestant, Task, apart, contest

SIDE, CELLS, FIELDS, BATCH = 1024, 100, 32, 2
EPOCH = FIELDS // BATCH  # batches


def results(rounds: int) -> Iterator[Result]:
    title = f"{SIDE} x {SIDE}, {CELLS} outlined cells, {apart(megabytes):.2f} MB a batch of {BATCH}"
    sides = {
        "kept": Contestant(an_epoch, {"keep_megabytes": 1000.0}),
        "decoded each time": Contestant(an_epoch, {"keep_megabytes": 0.0}),
    }
    yield Result(title, contest(sides, rounds), items=FIELDS)


def open_batches(keep_megabytes: float) -> Any:
    from wbcjax.input.augment import Augment
    from wbcjax.input.field_set import source
    from wbcjax.input.pipeline import Stream, train_batches
    from wbcjax.input.settings import FieldSetSettings, InputSettings, SyntheticSettings
    from wbcjax.input.split import SplitSettings
    from wbcjax.smear.synthetic import CLASSES

    drawn = SyntheticSettings(count=FIELDS + 1, height=SIDE, width=SIDE, cells=(CELLS, CELLS))
    dataset = FieldSetSettings(
        name="synthetic",
        classes=CLASSES,
        synthetic=drawn,
        split=SplitSettings(train_fraction=FIELDS / (FIELDS + 1)),
        canvas=(SIDE, SIDE),
        max_cells=CELLS,
        input=InputSettings(keep_megabytes=keep_megabytes),
    )
    flips = Augment(flip_horizontal=True, flip_vertical=True)
    return train_batches(source(dataset, "train"), dataset, flips, Stream(BATCH, seed=0))


def an_epoch(keep_megabytes: float) -> Task:
    batches = open_batches(keep_megabytes)
    return lambda: list(itertools.islice(batches, EPOCH))


def megabytes() -> float:
    """Of a batch."""
    batches = open_batches(0.0)
    batch = next(batches)
    batches.close()
    return sum(array.nbytes for array in batch) / 1e6
