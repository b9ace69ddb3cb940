"""Both stages of Suvon et al. together: `python -m benchmarks.two_stages DETECTOR_RUN CLASSIFIER_RUN --keep myeloma`.

A detector finds cells on its validation fields; those that the classifier does not name `--keep` are left out. Counts
how many are annotated cells, before and after. The detector's run must have been evaluated (detections.json). The
classifier must not have been trained on these fields: give both runs the same split seed and fraction.
"""

import argparse
from pathlib import Path

import numpy as np

from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, load
from wbcjax.evaluate.overlap import mask_overlaps
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.predict.classifier import load_classifier
from wbcjax.runs.folder import load_config
from wbcjax.smear.field import read_image

IOU = 0.5  # a detection with this overlap or more has found an annotated cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path)
    parser.add_argument("classifier", type=Path)
    parser.add_argument("--keep", required=True, help="the class of the classifier that counts as a cell")
    options = parser.parse_args()

    config, classifier = load_config(options.detector), load_classifier(options.classifier)
    wanted = classifier.classes.index(options.keep) + 1
    classes, annotations, detections = load(options.detector / "evaluation/val/detections.json")
    right, kept, cells = [], [], 0
    for annotated, detected in zip(annotations, detections, strict=True):
        found = reported_cells(detected, config.evaluate.score_threshold, classes)
        image = read_image(Path(config.dataset.images) / found.name)
        right.append(true_detections(annotated, found))
        kept.append(classifier.name(image, found).labels == wanted)
        cells += int((~annotated.crowd).sum())
    report(np.concatenate(right), np.concatenate(kept), cells)


def true_detections(annotated: FieldAnnotations, found: FieldDetections) -> np.ndarray:
    """Which detections, the surest first, are the first to find an annotated cell; (d,) bool."""
    overlaps = mask_overlaps(annotated, found)  # (d, c)
    right = np.zeros(len(found.rles), bool)
    for row in range(len(found.rles)):
        if overlaps.shape[1] and overlaps[row].max() >= IOU:
            right[row] = True
            overlaps[:, overlaps[row].argmax()] = 0
    return right


def report(right: np.ndarray, kept: np.ndarray, cells: int) -> None:
    print(f"{'':24}{'detections':>12}{'right':>8}{'precision':>11}{'recall':>8}   of {cells} annotated cells")
    for name, chosen in (("detector alone", np.ones_like(kept)), ("named so by both stages", kept)):
        count, true = int(chosen.sum()), int((right & chosen).sum())
        print(f"{name:24}{count:12}{true:8}{100 * true / max(count, 1):10.1f}%{100 * true / cells:7.1f}%")
    print(f"of {int((~right).sum())} false detections {int((kept & ~right).sum())} are named so too")


if __name__ == "__main__":
    main()
