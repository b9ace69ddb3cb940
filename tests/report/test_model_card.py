"""The card of an exported model says what is known of it, and nothing that is not."""

import json

import numpy as np
import pytest

from wbcjax.configs import myeloma_efficientnet_b3, segpc_mask_rcnn, smear_demo
from wbcjax.report.model_card import Evaluation, TrainedModel, model_card
from wbcjax.train.workdir import config_json

MADE = {
    "wbcjax": "1.2.3",
    "jax": "4.5",
    "flax": "6.7",
    "checkpoint": "best",
    "step": 70,
    "date": "2026-01-02",
    "platforms": ["cpu", "cuda", "tpu"],
}
DETECTION = {
    "mask": {"AP": 0.5, "AP50": 0.75, "AP75": None, "per_class": {"L1": 0.25, "L2": None}},
    "box": {"AP": 0.5, "AP50": 0.75, "AP75": 0.625},
    "paper": {"mAP": 0.875, "iou_threshold": 0.5, "score_threshold": 0.7},
    "counts": {"fields": 3, "cells": {"L1": 4, "L2": 0}},
}
CLASSIFICATION = {
    "accuracy": {"value": 0.9, "low": 0.8, "high": None},
    "auroc": {"value": 0.95, "low": 0.9, "high": 1.0},
    "report": {"per_class": {"blast": {"f1": 0.5}}, "macro": {"f1": 0.25}},
    "counts": {"crops": 12},
}


def card(config, kind="detection", facts=None, evaluation=None) -> str:
    inputs = [((64, 96, 3), np.uint8), ((2,), np.float32)]
    model = TrainedModel("Mask R-CNN on ConvNeXt", kind, inputs, json.loads(config_json(config.to_dict())), facts or {})
    return model_card(model, evaluation, MADE, "x.stablehlo")


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_title_of_the_model_is_the_callers():
    assert card(smear_demo.get_config()).startswith("# Mask R-CNN on ConvNeXt for white blood cells\n")


def test_an_unevaluated_runs_card_says_so():
    """A run that was not evaluated has no scores and the card says so."""
    scores = section(card(smear_demo.get_config()), "Scores")
    assert scores.strip() == "The run was not evaluated on a part of its data: the quality of the model is not known."


def test_scores_are_those_of_the_evaluation_and_undefined_ones_are_not_numbers():
    scores = section(card(smear_demo.get_config(), evaluation=Evaluation(DETECTION, "2026-01-01")), "Scores")
    assert "on 2026-01-01" in scores
    assert "| mask AP50, % | 75.0 |\n| mask AP75, % | n/a |" in scores
    assert "| mask AP of L1, % | 25.0 |\n| mask AP of L2, % | n/a |" in scores
    assert "| mAP as in the papers (IoU 0.5, score 0.7), % | 87.5 |\n| fields | 3 |" in scores
    assert "| annotated cells | 4 L1, 0 L2 |" in scores


def test_scores_of_a_classifier_have_their_intervals():
    config = myeloma_efficientnet_b3.get_config()
    text = card(config, "classification", {"cut": {"margin": 0.1}}, Evaluation(CLASSIFICATION, "2026-01-01"))
    assert "| mean AUROC, % | 95.0 (90.0 to 100.0) |\n| F1 of blast | 0.500 |" in section(text, "Scores")
    assert "cut out of their fields: {'margin': 0.1}" in section(text, "Use")


def test_scores_of_another_kind_are_refused_by_what_they_lack():
    with pytest.raises(ValueError, match=r"the run's scores\.json lacks 'mask': evaluate the run again"):
        card(smear_demo.get_config(), evaluation=Evaluation(CLASSIFICATION, "2026-01-01"))


def test_the_data_are_those_of_the_config():
    config = segpc_mask_rcnn.get_config()
    config.dataset.update({"annotations": "data/a|b.json", "images": "data/images", "on_error": "skip"})
    config.dataset.split.update({"seed": 4, "train_fraction": 0.8, "val_names": ("a.jpg",)})
    data = section(card(config), "Data")
    assert "| Annotations | data/a\\|b.json |\n| Images | data/images |" in data
    assert "| Annotations with problems | left out |" in data
    assert "| Split | val by name |" in data
    config.dataset.split.val_names = ()
    assert "| Split | 80 % to train on, chosen by seed 4 |" in section(card(config), "Data")
    config.dataset.split.update({"folds": 5, "fold": 2})
    config.dataset.update({"train_fields": 30, "train_fields_seed": 7})
    by_fold = (
        "fold 2 of 5 to test on, counted from 0, of the others 80 % to train on, chosen by seed 4; of these 30, by"
    )
    assert f"| Split | {by_fold} seed 7 |" in section(card(config), "Data")


def test_crops_of_a_folder_of_their_own_to_test_on_are_named():
    assert "Crops to test on" not in section(card(myeloma_efficientnet_b3.get_config(), "classification"), "Data")
    config = myeloma_efficientnet_b3.get_config()
    config.dataset.test_crops = "data/test"
    assert "| Crops to test on | data/test |" in section(card(config, "classification"), "Data")


def test_weights_to_start_from_bind_the_licence_too():
    config = smear_demo.get_config()
    assert "started from" not in section(card(config), "Licence")
    config.init_from = "coco.h5"
    text = card(config)
    assert "and from the weights they started from" in section(text, "Licence")
    assert "| Weights to start from | coco.h5 |" in section(text, "Data")


def test_what_a_user_without_this_package_must_do_to_images_is_told():
    config = smear_demo.get_config()
    config.dataset.enhance = "eff"
    use = section(card(config, facts={"scale": [0.5, 0.75]}), "Use")
    assert "`images` (n, 192, 256, 3)" in use
    assert "an image pixel was 0.5 to 0.75 pixels here" in use
    assert "`labels` (1 L1, 2 L2, 3 L3)" in use
    assert "`wbcjax enhance --method eff`" in use
    assert "enhance" not in section(card(smear_demo.get_config()), "Use")


def test_a_task_from_outside_is_described_by_its_arrays_and_its_own_scores():
    config = smear_demo.get_config()
    config.task = "my_lab.counting:Counting"
    text = card(config, "", evaluation=Evaluation({"right": 0.25, "classes": ["a"]}, "2026-01-01"))
    assert "A model of the task `my_lab.counting:Counting`, which is no part of wbcjax." in text
    assert "outputs = network(weights, array_1, array_2)" in text
    assert "- `array_1` (n, 64, 96, 3), uint8.\n- `array_2` (n, 2), float32." in text
    assert "| right | 0.2500 |" in section(text, "Scores")
    assert "wbcjax predict" not in text
