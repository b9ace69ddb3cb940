"""Score a trained model: `python evaluate.py --workdir runs/X [--split test]`.

Prints the scores as tables, and writes scores.json and what it rests on into runs/X/evaluation/val, and the page
runs/X/report.html; of `test` all of it into runs/X/evaluation/test. Scored is the part `test` where the run has one,
else `val`, which also chose the best checkpoint; what the run was trained on is left out. On data that the run never
saw: `--annotations other/via.json --images other/images` for a detector, `--drawn_seed 1000000` for one of drawn
fields, `--crops folder` for a classifier: into a folder of their own beside it. Where the run's folder cannot be
written, `--out` names another.
"""

import sys
from pathlib import Path

from absl import app, flags

from wbcjax.commands.command_line import parse_flags
from wbcjax.commands.ending import ending

WORKDIR = flags.DEFINE_string("workdir", None, "folder of a training run", required=True)
SPLIT = flags.DEFINE_enum(
    "split", None, ["train", "val", "test"], "part of the data to score on; default: test where there is one, else val"
)
ANNOTATIONS = flags.DEFINE_string("annotations", None, "score on other fields: their annotations, in the run's format")
IMAGES = flags.DEFINE_string("images", None, "and their image folder")
DRAWN_SEED = flags.DEFINE_integer("drawn_seed", None, "score on other drawn fields, as many, from this seed on")
CROPS = flags.DEFINE_string("crops", None, "score on all crops of another folder of class folders")
CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "weights to score")
OUT = flags.DEFINE_string("out", None, "folder for what is written, new or empty (default: in the run's folder)")


def main(_: list[str]) -> None:
    with ending("evaluate.py"):
        run()


def run() -> None:
    from wbcjax.system import heap, runtime
    from wbcjax.system.places import told
    from wbcjax.tasks.choose import evaluate

    runtime.quiet_libraries()
    heap.tune_malloc()
    other = {"annotations": ANNOTATIONS.value, "images": IMAGES.value, "crops": CROPS.value, "out": OUT.value}
    try:
        runtime.use_compilation_cache()
        tables = evaluate(Path(WORKDIR.value), SPLIT.value, CHECKPOINT.value, drawn_seed=DRAWN_SEED.value, **other)
    except (OSError, ValueError) as error:
        sys.exit(f"evaluate.py: {told(error)}")
    print(tables)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
