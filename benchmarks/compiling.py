"""The cost of compiling: the first run of a program beside a later one, with an empty cache and with a filled one.

The persistent cache is that of the programs (wbcjax/system/runtime.py). Each record is of a fresh process.
"""

import os
import tempfile
from collections.abc import Iterator
from unittest.mock import patch

from benchmarks import efficientnet, mask_rcnn
from benchmarks.results import Result
from benchmarks.timing import Contestant, contest

PROGRAMS = {
    "Mask R-CNN inference, 512": Contestant(mask_rcnn.our_inference, {"side": 512, "threshold": 0.5}),
    "Mask R-CNN training step, 512": Contestant(mask_rcnn.our_step, {"side": 512}),
    "EfficientNet-B3 inference, batch 8": Contestant(efficientnet.our_inference, {"batch": 8}),
    "EfficientNet-B3 training step, batch 8": Contestant(efficientnet.our_step, {"batch": 8}),
}


def results(rounds: int) -> Iterator[Result]:
    del rounds  # a program compiles once
    for work, program in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, JAX_COMPILATION_CACHE_DIR=folder):
            records = {cache: contest({work: program}, 1, tuned=True)[work] for cache in ("empty", "filled")}
            yield Result(work, records, tuned=True)
