"""`evaluate.py`: its flags, and what it does."""

import sys
from pathlib import Path

from absl import flags

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
    sys.stdout.write(f"{tables}\n")
