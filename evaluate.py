"""Score a trained model: `python evaluate.py --workdir runs/X [--split val]`.

Prints the scores as a table, and writes scores.json, detections.json and contact_sheet.png into runs/X/evaluation/val.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from wbcjax import runtime
from wbcjax.detection import evaluate_run
from wbcjax.evaluate.scores import table

WORKDIR = flags.DEFINE_string("workdir", None, "folder of a training run", required=True)
SPLIT = flags.DEFINE_enum("split", "val", ["train", "val"], "fields to score on")
CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "weights to score")


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax tells of every file it touches
    runtime.tune_malloc()
    runtime.use_compilation_cache()
    out = Path(WORKDIR.value) / "evaluation" / SPLIT.value
    try:
        scores = evaluate_run(Path(WORKDIR.value), SPLIT.value, CHECKPOINT.value, out)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"evaluate.py: {error}")
    print(table(scores))
    print(f"\nscores.json, detections.json and contact_sheet.png are in {out}")


if __name__ == "__main__":
    app.run(main)
