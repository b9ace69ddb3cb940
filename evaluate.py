"""Score a trained model: `python evaluate.py --workdir runs/X [--split val]`.

Prints the scores as a table, and writes scores.json, detections.json and contact_sheet.png into runs/X/evaluation/val.
Fields that the run never saw: `--annotations other/via.json --images other/images`.
"""

import sys
from pathlib import Path

from absl import app, flags

from wbcjax import runtime
from wbcjax.detection import evaluate_run
from wbcjax.evaluate.scores import table

WORKDIR = flags.DEFINE_string("workdir", None, "folder of a training run", required=True)
SPLIT = flags.DEFINE_enum("split", "val", ["train", "val"], "fields to score on")
ANNOTATIONS = flags.DEFINE_string("annotations", None, "score on other fields: their annotations, in the run's format")
IMAGES = flags.DEFINE_string("images", None, "and their image folder")
CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "weights to score")


def main(_: list[str]) -> None:
    runtime.quiet_libraries()
    runtime.tune_malloc()
    runtime.use_compilation_cache()
    if bool(ANNOTATIONS.value) != bool(IMAGES.value):
        sys.exit("evaluate.py: --annotations and --images go together")
    out = Path(WORKDIR.value) / "evaluation" / (Path(ANNOTATIONS.value).stem if ANNOTATIONS.value else SPLIT.value)
    try:
        scores = evaluate_run(Path(WORKDIR.value), SPLIT.value, CHECKPOINT.value, out, ANNOTATIONS.value, IMAGES.value)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"evaluate.py: {error}")
    print(table(scores))
    print(f"\nscores.json, detections.json and contact_sheet.png are in {out}")


if __name__ == "__main__":
    app.run(main)
