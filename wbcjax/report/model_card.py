"""The card of an exported model as Markdown: its data, its scores, and how to use it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from wbcjax.evaluate.average_precision import MAX_DETECTIONS
from wbcjax.evaluate.figures import percent
from wbcjax.report.run_sections import number, with_interval
from wbcjax.system.run_files import SCORES
from wbcjax.system.terminal import printable

Rows = Sequence[tuple[str, Any]]


class Evaluation(NamedTuple):
    """The scores of a run on a part of its data, "val" or "test", as scores.json has them, and its day."""

    scores: Mapping[str, Any]
    day: str
    part: str = "val"


class TrainedModel(NamedTuple):
    """The model of a run."""

    title: str  # such as "Mask R-CNN on ResNet-50"
    kind: str  # "detection", "classification", or "" for a task from outside of wbcjax
    inputs: Sequence[tuple[tuple[int, ...], Any]]  # shape, without the images, and dtype of each array that it takes
    config: Mapping[str, Any]  # as config.json has it
    facts: Mapping[str, Any]  # of its data, as the run noted them


def model_card(model: TrainedModel, evaluation: Evaluation | None, made: Mapping[str, Any], file_name: str) -> str:
    """The card of a model, as Markdown.

    Args:
        evaluation: None for a run that was not evaluated; the card notes it.
        made: versions, checkpoint, step, date and platforms, by these names.
        file_name: of the exported model.

    Raises ValueError when the scores are not whole.
    """
    environment = Environment(
        loader=PackageLoader("wbcjax.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    config, facts = model.config, model.facts
    card = environment.get_template("model_card.md.j2").render(
        kind=model.kind,
        model=model.title,
        task=config["task"],
        inputs=[(("n", *shape), np.dtype(dtype).name) for shape, dtype in model.inputs],
        dataset=config.get("dataset", {}),
        data=_data(config) if model.kind else [("Described", "by the config below")],
        started=bool(config.get("init_from")),
        scale=facts.get("scale"),
        cut=facts.get("cut"),
        evaluation=evaluation,
        scores=_scores(model.kind, evaluation.scores) if evaluation else (),
        made=made,
        file_name=file_name,
        config=json.dumps(config, indent=2, sort_keys=True),
    )
    return "\n".join(map(printable, card.strip().splitlines())) + "\n"


def _data(config: Mapping[str, Any]) -> Rows:
    """Rows on the training data."""
    dataset, split = config["dataset"], config["dataset"]["split"]
    if dataset["name"] == "synthetic":
        drawn = dataset["synthetic"]
        rows = [("Fields", f"{drawn['count']} drawn by wbcjax, from seed {drawn['seed']} on; no smear of a patient")]
    elif dataset["name"] == "crops":
        rows = [("Crops", dataset["crops"]), ("Crops to validate on", dataset["val_crops"] or "a split of these")]
        rows += [("Crops to test on", dataset["test_crops"])] * bool(dataset.get("test_crops"))
    else:
        rows = [("Annotations", dataset["annotations"]), ("Images", dataset["images"]), ("Format", dataset["name"])]
        if dataset.get("on_error") == "skip":
            rows += [("Annotations with problems", "left out")]
    named = [f"{part} by name" for part in ("train", "val", "test") if split.get(f"{part}_names")]
    by_seed = f"{100 * split['train_fraction']:.3g} % to train on, chosen by seed {split['seed']}"
    if split.get("test_fraction"):
        by_seed = f"{100 * split['test_fraction']:.3g} % to test on, of the others {by_seed}"
    if split.get("folds"):
        by_seed = f"fold {split['fold']} of {split['folds']} to test on, counted from 0, of the others {by_seed}"
    if dataset.get("train_fields"):
        by_seed += f"; of these {dataset['train_fields']}, by seed {dataset['train_fields_seed']}"
    return [
        *rows,
        ("Classes", ", ".join(dataset["classes"])),
        ("Split", ", ".join(named) or by_seed),
        ("Contrast enhancement", dataset.get("enhance", "none")),
        ("Weights to start from", config.get("init_from") or "none: from scratch"),
    ]


def _scores(kind: str, scores: Mapping[str, Any]) -> Rows:
    if not kind:
        return [(name, number(value, 4)) for name, value in scores.items() if isinstance(value, int | float)]
    try:
        return _detection_scores(scores) if kind == "detection" else _classification_scores(scores)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the run's {SCORES} lacks {error}: evaluate the run again") from error


def _detection_scores(scores: Mapping[str, Any]) -> Rows:
    averages = [
        (f"{kind} {name}, %", percent(scores[kind][name]))
        for kind in ("mask", "box")
        for name in ("AP", "AP50", "AP75")
    ]
    paper, counts = scores["paper"], scores["counts"]
    of_class = [(f"mask AP of {name}, %", percent(value)) for name, value in scores["mask"]["per_class"].items()]
    cells = ", ".join(f"{count} {name}" for name, count in counts["cells"].items())
    at = f"IoU {paper['iou_threshold']:g}, score {paper['score_threshold']:g}"
    most = scores.get("max_detections", MAX_DETECTIONS)  # older scores have none: it was COCO's
    averages += [("detections of a field and class counted for these, COCO's 100 apart", most)] * (
        most > MAX_DETECTIONS
    )
    return [
        *averages,
        *(of_class if len(of_class) > 1 else ()),
        (f"mAP as in the papers ({at}), %", percent(paper["mAP"])),
        ("fields", counts["fields"]),
        ("annotated cells", cells),
    ]


def _classification_scores(scores: Mapping[str, Any]) -> Rows:
    report = scores["report"]
    return [
        ("accuracy, %", with_interval(scores["accuracy"])),
        ("mean AUROC, %", with_interval(scores["auroc"])),
        *((f"F1 of {name}", number(of["f1"], 3)) for name, of in report["per_class"].items()),
        ("F1, mean of the classes", number(report["macro"]["f1"], 3)),
        ("crops", scores["counts"]["crops"]),
    ]
