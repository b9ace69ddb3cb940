"""How time and memory of Mask R-CNN grow with the image's side, the batch, the cells in a field and the proposals.

Ours against torchvision at its fastest: in channels_last, with malloc tuned on both sides. All else is as in
benchmarks/mask_rcnn.py, at 512 x 512, without pasting.
"""

from collections.abc import Iterator

from benchmarks import mask_rcnn
from benchmarks.results import Result
from benchmarks.timing import apart, contest

SIDE = 512
INFERENCE = {
    "side": (256, 512, 1024, 1536),
    "batch": (1, 2, 4),
    "cells": (1, 20, 60, 200),
    "proposals": (100, 300, 1000, 2000),
}
TRAINING = {"side": (256, 512, 1024), "batch": (1, 2, 4), "cells": (1, 20, 60, 200)}


def results(rounds: int) -> Iterator[Result]:
    for work, series in (("inference", INFERENCE), ("train", TRAINING)):
        for name, values in series.items():
            for value in values:
                options = {"side": SIDE, name: value}
                if work == "inference":
                    cells = options.get("cells", mask_rcnn.CELLS)
                    options["threshold"] = apart(mask_rcnn.score_threshold, side=options["side"], cells=cells)
                contestants = mask_rcnn.pair(work, **options)
                del contestants["torchvision"]
                together = mask_rcnn.fit_together(work, options["side"], options.get("batch", 1))
                records = contest(contestants, min(rounds, 2), tuned=True, together=together)
                yield Result(f"{work}, {name}", records, tuned=True, items=options.get("batch", 1), x=value)
