"""`train.py`: its flags and its work."""

import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from wbcjax.commands import joining
from wbcjax.commands.config_file import for_devices, load_config_file
from wbcjax.runs.initial_weights import UnusableWeights
from wbcjax.settings.checked import ConfigError
from wbcjax.system import heap, processes, runtime
from wbcjax.system.interrupt import Interrupted, breakable, exit_code
from wbcjax.system.places import check_writable, error_text
from wbcjax.tasks.checks import check_machine
from wbcjax.tasks.choose import experiment_of, train
from wbcjax.train.guard import NonFiniteLoss
from wbcjax.train.workdir import ConfigChanged

CONFIG = flags.DEFINE_string("config", None, "experiment, as configs/X.py; --config.a.b=c overrides", required=True)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: config, checkpoints, metrics", required=True)
ALLOW_CHANGE = flags.DEFINE_bool("allow_config_change", False, "go on in a workdir of another config")
TUNE_MALLOC = flags.DEFINE_bool("tune_malloc", True, "let glibc keep freed memory: faster on a CPU, holds more")


def main(overrides: list[str]) -> None:
    try:
        config = load_config_file(CONFIG.value, overrides)
    except ConfigError as error:
        sys.exit(f"train.py: {error}")
    runtime.quiet_libraries()
    if TUNE_MALLOC.value:
        heap.tune_malloc()
    try:
        runtime.use_compilation_cache()
        joining.join()
    except ValueError as error:
        sys.exit(f"train.py: {error}")
    try:
        with processes.ending_together():
            run(config)
    except KeyboardInterrupt:  # where no handler is set, or a second one
        sys.stderr.write("train.py: aborted; what was saved before is whole, and the same command goes on\n")
        sys.exit(130)


def run(config: ConfigDict) -> None:
    try:
        config = for_devices(config, runtime.device_count())
        experiment = experiment_of(config)
        check_machine(experiment)
        check_writable(Path(WORKDIR.value))
        with breakable():  # a data set may take minutes to build
            task = experiment.task(Path(WORKDIR.value))
    except Interrupted as interrupted:
        sys.exit(exit_code(interrupted.signal))
    except (OSError, ValueError) as error:  # of the settings, or of the set
        sys.exit(f"train.py: {error_text(error)}")
    try:
        stopped_by = train(config, task, Path(WORKDIR.value), allow_config_change=ALLOW_CHANGE.value)
    except (ConfigError, ConfigChanged, NonFiniteLoss, UnusableWeights, OSError) as error:
        sys.exit(f"train.py: {error_text(error)}")
    if stopped_by:
        sys.exit(exit_code(stopped_by))
