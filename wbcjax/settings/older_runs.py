"""Configs of older runs in the form of this version, with the values that those runs had.

A config has a `version`; one without is of version 1. The changes of each version are one function, applied in turn.
"""

from collections.abc import Callable
from typing import Any

VERSION = 3

Values = dict[str, Any]


def upgrade(config: Values) -> Values:
    """The config of a run, as its config.json has it, in the form of this version."""
    for version in range(config.get("version", 1), VERSION):
        config = {**_TO_NEXT[version](config), "version": version + 1}
    return config


def upgrade_model(model: Values) -> Values:
    """`config.model` of a run of any version, or the settings that are noted in a file of weights."""
    if "backbone" not in model:
        return {"remat": False} | model
    model = model if "part" in model["backbone"] else _parts_of(model)
    return model | {"detection": {"maskness": 0.0} | model.get("detection", {})}


def _to_version_2(config: Values) -> Values:
    """Runs of version 1 lack the keys that came before there were versions; then the model's settings became parts."""
    config = {"task": "detection", "init_from": "", "init_parts": []} | config
    dataset = dict(config.get("dataset", {}))
    if "split" in dataset:
        dataset["split"] = {"test_fraction": 0.0, "test_names": []} | dataset["split"]
    if dataset.get("name") == "crops":
        dataset.setdefault("test_crops", "")
    if isinstance(dataset.get("class_of"), dict):  # before it was a tuple of pairs, which takes names with dots
        dataset["class_of"] = [list(pair) for pair in dataset["class_of"].items()]
    config["dataset"] = dataset
    if "train" in config:
        config["train"] = _with_optimizer(config["train"])
    if "model" in config:
        config["model"] = upgrade_model(config["model"])
    return config


def _with_optimizer(train: Values) -> Values:
    """`config.train` with its optimizer as a part; version 1 had the arguments of both optimizers."""
    train = {"adam_epsilon": 1e-8, "l2_per_array": False} | train
    sgd, adamw = {"momentum": train.pop("momentum")}, {"eps": train.pop("adam_epsilon")}
    name = train["optimizer"]
    return {**train, "optimizer": {"part": name, **(sgd if name == "sgd" else adamw)}}


def _parts_of(model: Values) -> Values:
    """A detector's settings as parts; version 1 had one loss and one norm for all heads."""
    model = {"remat": False, "head_norm": "frozen_bn", "heads": {}} | model
    loss, norm = model.pop("loss"), model.pop("head_norm")
    per_positive = loss["per_positive"]

    def head(name: str) -> Values:
        own = norm if model[name].get("norm") else "none"
        return {**model[name], "part": name, "norm": own, "norm_epsilon": model["backbone"]["norm_epsilon"]}

    def smooth_l1(beta: float) -> Values:
        return {"box_loss": {"part": "smooth_l1", "beta": beta}, "per_positive": per_positive}

    return model | {
        "backbone": {"part": "resnet", **model["backbone"]},
        "fpn": {"part": "fpn", **model["fpn"]},
        "rpn": {"part": "rpn", **model["rpn"], **smooth_l1(loss["rpn_beta"])},
        "box_head": {
            **head("box_head"),
            **smooth_l1(loss["box_beta"]),
            "class_agnostic": False,
            "padding_is_background": loss["padding_is_background"],
        },
        "mask_head": {**head("mask_head"), "class_agnostic": False},
    }


def _to_version_3(config: Values) -> Values:
    """Runs of version 2 drew cells of blood alone, and ordered detections by the scores of boxes."""
    config, dataset = dict(config), config.get("dataset", {})
    if isinstance(dataset.get("synthetic"), dict):
        config["dataset"] = dataset | {"synthetic": {"tissue": "blood"} | dataset["synthetic"]}
    if "model" in config:
        config["model"] = upgrade_model(config["model"])
    return config


_TO_NEXT: dict[int, Callable[[Values], Values]] = {1: _to_version_2, 2: _to_version_3}
