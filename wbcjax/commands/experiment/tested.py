"""What a finished run found on the items that it was tested on, as resampling wants it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from wbcjax.commands.experiment.running import Run
from wbcjax.evaluate.average_precision import match_class, max_detections
from wbcjax.evaluate.detections import FieldAnnotations, load
from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps
from wbcjax.evaluate.predictions import load_predictions
from wbcjax.evaluate.resampled_precision import resampled_precision
from wbcjax.input.digest import json_digest
from wbcjax.runs.data_note import note_in
from wbcjax.runs.folder import DETECTION, kind_of, load_facts
from wbcjax.runs.log import read_log
from wbcjax.system import run_files

# Score, by its name, of sets in which item i is there so many times, (b, i); the first is the one that is compared
Sample = Callable[[Int[np.ndarray, "b i"]], dict[str, Float[np.ndarray, " b"]]]


@dataclass(frozen=True, eq=False)
class Tested:
    """The items of a run, and its scores of any resampling of them."""

    items: tuple[str, ...]  # fields, or crops
    groups: tuple[str, ...]  # that each is of: of a patient, say; its own name where it is of none
    truth: tuple[str, ...]  # digests of their annotations
    sample: Sample
    trained_on: int  # items
    records: Sequence[Mapping[str, Any]]  # of its log


def tested(run: Run) -> Tested:
    """Of a finished run. Raises OSError or ValueError for files of it that are gone or broken."""
    note = note_in(load_facts(run.folder), run.folder)
    parts = note.parts if note else {}
    group_of = {item.name: item.group for item in parts.get(run.part, ())}
    items, groups, truth, sample = (_fields if kind_of(run.config) == DETECTION else _crops)(run)
    groups = tuple(group_of.get(item) or group for item, group in zip(items, groups, strict=True))
    records = read_log(run.folder / run_files.METRICS)
    return Tested(items, groups, truth, sample, len(parts.get("train", ())), records)


def _fields(run: Run) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Sample]:
    classes, annotations, detections = load(run.found)
    outlined = any((field.outlined & ~field.crowd).any() for field in annotations)
    truth = [field.for_masks() for field in annotations] if outlined else annotations
    overlaps_of, kind = (mask_overlaps, "mask") if outlined else (box_overlaps, "box")
    overlaps = [overlaps_of(*field) for field in zip(truth, detections, strict=True)]
    ignored, most = [field.crowd for field in truth], max_detections(annotations)
    found = [match_class(truth, detections, overlaps, ignored, label, most) for label in range(1, len(classes) + 1)]

    def sample(times: Int[np.ndarray, "b i"]) -> dict[str, Float[np.ndarray, " b"]]:
        precision = resampled_precision(found, times)
        return {f"{kind} AP": precision.mean(axis=1), f"{kind} AP50": precision[:, 0]}

    names = tuple(field.name for field in annotations)
    return names, names, tuple(map(_digest, annotations)), sample


def _crops(run: Run) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Sample]:
    predictions = load_predictions(run.found)

    def sample(times: Int[np.ndarray, "b i"]) -> dict[str, Float[np.ndarray, " b"]]:
        crops = times.sum(axis=1)
        right = times @ predictions.right
        return {"accuracy": np.divide(right, crops, out=np.full(len(times), np.nan), where=crops > 0)}

    truth = tuple(predictions.classes[label] for label in predictions.labels)
    return predictions.names, predictions.groups or predictions.names, truth, sample


def _digest(field: FieldAnnotations) -> str:
    return json_digest([field.labels.tolist(), field.crowd.tolist(), [str(rle) for rle in field.rles]])
