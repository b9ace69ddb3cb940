"""What tiles do to accuracy: a run's validation fields shown to the network whole, and in overlapping tiles.

`python benchmarks/tiles.py runs/segpc --tile 192 256` prints the scores of both, at one scale, and how they differ.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from wbcjax.evaluate.scores import Scores, detection_scores
from wbcjax.input.field_set import Source, source
from wbcjax.input.settings import FieldSetSettings
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.predict.detector import CANVAS_UNIT, Predictor, load, predictor
from wbcjax.runs.folder import load_config
from wbcjax.system import runtime
from wbcjax.tasks.detection import detect_split

SHOWN = (("mask", "AP"), ("mask", "AP50"), ("mask", "AP75"), ("box", "AP"), ("box", "AP50"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path, help="of a run")
    parser.add_argument("--tile", type=int, nargs=2, default=(192, 256), help="height and width, multiples of 32")
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    options = parser.parse_args()
    runtime.quiet_libraries()
    runtime.use_compilation_cache()

    config = load_config(options.workdir)
    fields = source(FieldSetSettings.from_config(config.dataset), "val")
    trained = load(options.workdir, which=options.checkpoint)
    sizes = [fields.size(i) for i in range(len(fields))]
    scale = min(trained.layout(*size).scale for size in sizes)
    height, width = (math.ceil(max(sides) * scale / CANVAS_UNIT) * CANVAS_UNIT for sides in zip(*sizes, strict=True))
    print(f"{len(fields)} fields at scale {scale:.3g}")
    whole = evaluate(on_canvas(trained, config, (height, width), scale), fields, config)
    tiled = evaluate(on_canvas(trained, config, (options.tile[0], options.tile[1]), scale), fields, config)
    print(f"{'':12}{'whole':>8}{'tiled':>8}{'change':>9}")
    for kind, name in SHOWN:
        before, after = whole[kind][name], tiled[kind][name]
        print(f"{kind + ' ' + name:12}{before:8.4f}{after:8.4f}{after - before:+9.4f}")


def on_canvas(trained: Predictor, config: ConfigDict, canvas: tuple[int, int], scale: float) -> Predictor:
    """The trained network on another canvas, seeing every field at one scale."""
    return predictor(
        from_dict(MaskRCNNSettings, config.model.to_dict()),
        replace(FieldSetSettings.from_config(config.dataset), canvas=canvas),
        trained.network.variables,
        (scale, scale),
    )


def evaluate(model: Predictor, fields: Source, config: ConfigDict) -> Scores:
    start = time.perf_counter()
    found = detection_scores(*detect_split(model, fields), model.classes, config.evaluate.score_threshold)
    tiles = [len(model.layout(*fields.size(i)).tiles) for i in range(len(fields))]
    taken = time.perf_counter() - start
    print(f"canvas {model.canvas}: {min(tiles)} to {max(tiles)} tiles a field, {taken:.0f} s with compilation")
    return found


if __name__ == "__main__":
    main()
