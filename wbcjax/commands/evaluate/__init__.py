"""`evaluate.py`: its flags and its work."""

import sys
from pathlib import Path

from absl import flags

from wbcjax.commands import joining
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
TRUST_PARTS = flags.DEFINE_bool(
    "trust_parts",
    False,
    "run the code from outside of wbcjax that the config names; only if you trust its source",
)
flags.DEFINE_alias("trust-parts", "trust_parts")
OUT = flags.DEFINE_string("out", None, "folder for the results, new or empty (default: in the run's folder)")


def main(_: list[str]) -> None:
    with ending("evaluate.py"):
        run()


def run() -> None:
    from wbcjax.system import heap, processes, runtime
    from wbcjax.system.places import error_text
    from wbcjax.tasks.choose import evaluate
    from wbcjax.tasks.experiment import Scored

    runtime.quiet_libraries()
    heap.tune_malloc()
    scored = Scored(SPLIT.value or "", ANNOTATIONS.value, IMAGES.value, DRAWN_SEED.value, CROPS.value)
    try:
        runtime.use_compilation_cache()
        joining.join()
    except (OSError, ValueError) as error:
        sys.exit(f"evaluate.py: {error_text(error)}")
    with processes.ending_together():
        try:
            tables = evaluate(
                Path(WORKDIR.value), CHECKPOINT.value, scored, out=OUT.value, trust_parts=TRUST_PARTS.value
            )
        except (OSError, ValueError) as error:
            sys.exit(f"evaluate.py: {error_text(error)}")
    if processes.is_first():
        sys.stdout.write(f"{tables}\n")
