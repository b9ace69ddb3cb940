"""A model and its data as the training loop uses them: a handful of plain functions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from wbcjax.models.backbone import HEADS, Trains
from wbcjax.models.variables import Tree, Variables
from wbcjax.train.layers import StageOf

Batch = (
    Any  # a NamedTuple of arrays with the images first, one of its fields called `index`, such as wbcjax.batch.Batch
)


@dataclass(frozen=True)
class Task:
    """A model, its losses, its data and its scores, as `train` uses them. The functions must be pure unless noted.

    images: fields (or crops) in the training set; an epoch shows each of them once.
    init_variables: seed -> the model's variables {"params", and any other collections of flax, such as "batch_stats"}.
    losses: (variables, batch, keys, trains, axis_name) -> (losses by name, collections after the batch), the
        collections being those of the variables beside "params". Called inside the data-parallel step with one device's
        share of the batch and one PRNG key per image. `trains`: whether a stage trains and uses the batch's statistics.
        A loss that is normalised by a count must use the count's `pmean` over axis_name: the mean over devices is then
        the loss of the whole batch. Statistics that are no floats, such as counters, must be the same on every device.
    train_batches: (seed, process_index, process_count) -> endless iterator of this process's share of each batch.
    evaluate: variables -> scores by name, on the validation set. It may take long, and show its own progress.
    names: `batch.index` -> names of the images, for messages.
    start: loads trained weights into fresh variables, for a new run that starts from some; None: from fresh ones.
    watched: names among the losses that are logged and not trained on, such as an accuracy.
    best_score: the score by which the best checkpoint is kept, larger is better.
    facts: on the training data, for prediction; kept as data.json in the workdir.
    stage_of: the stage of a weight, for phases such as "4+"; by default all are heads.
    check_workdir: raises ValueError where the run in a workdir must not go on with this task's data.
    """

    images: int
    init_variables: Callable[[int], Variables]
    losses: Callable[[Variables, Batch, jax.Array, Trains, str], tuple[dict[str, Float[Array, ""]], Tree]]
    train_batches: Callable[[int, int, int], grain.DatasetIterator[Batch]]
    evaluate: Callable[[Variables], dict[str, float]]
    names: Callable[[Int[np.ndarray, " n"]], list[str]]
    best_score: str
    facts: dict[str, Any] = field(default_factory=dict)
    start: Callable[[Variables], Variables] | None = None
    watched: tuple[str, ...] = ()
    check_workdir: Callable[[Path], None] = lambda _: None
    stage_of: StageOf = lambda _: HEADS
