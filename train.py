"""Train a model: `python train.py --config configs/X.py [--config.a.b=c ...] --workdir runs/X`.

The same command goes on from where it stopped. Ctrl-C or SIGTERM finishes the step, saves, and exits with 130 or 143;
a second one aborts. On several hosts, start one process on each with --distributed and, where JAX does not find them
by itself (Slurm, TPU pods), --coordinator, --processes and --process.
"""

import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from wbcjax import runtime
from wbcjax.start import UnusableWeights
from wbcjax.tasks import make_task
from wbcjax.train.loop import NonFiniteLoss, train
from wbcjax.train.workdir import ConfigChanged

CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="experiment, e.g. configs/X.py; --config.a.b=c overrides"
)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: config, checkpoints, metrics", required=True)
ALLOW_CHANGE = flags.DEFINE_bool("allow_config_change", False, "go on in a workdir of another config")
TUNE_MALLOC = flags.DEFINE_bool("tune_malloc", True, "let glibc keep freed memory: faster on a CPU, holds more")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "this is one process of several")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0")
PROCESSES = flags.DEFINE_integer("processes", None, "how many processes")
PROCESS = flags.DEFINE_integer("process", None, "which one this is, from 0")
flags.mark_flag_as_required("config")


def main(_: list[str]) -> None:
    runtime.quiet_libraries()
    if TUNE_MALLOC.value:
        runtime.tune_malloc()
    runtime.use_compilation_cache()
    if DISTRIBUTED.value:
        jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    config = CONFIG.value
    try:
        task = make_task(config)
    except (OSError, ValueError) as error:  # of the settings, or of the set
        sys.exit(f"train.py: {error}")
    try:
        stopped_by = train(config, task, Path(WORKDIR.value), allow_config_change=ALLOW_CHANGE.value)
    except (ConfigChanged, NonFiniteLoss, UnusableWeights, OSError) as error:
        sys.exit(f"train.py: {error}")
    if stopped_by:
        sys.exit(128 + stopped_by)


if __name__ == "__main__":
    app.run(main)
