"""`wbcjax train`, and `train.py`: train the experiment of a config."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from wbcjax.commands.arguments import CONFIG_USAGE, add_config, add_joining

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def add(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        "train",
        help="train the experiment of a config, or go on with it",
        usage=f"%(prog)s [-h] {CONFIG_USAGE} --workdir FOLDER [--allow-config-change] [--no-tune-malloc] "
        "[--coordinator HOST:PORT --num-processes P --process-id N | --distributed]",
        epilog="The same command goes on from where it stopped. Ctrl-C or SIGTERM finishes the step, saves, and exits "
        "with 130 or 0. A second one aborts. On several hosts, start the same command on each. Under Slurm's srun, "
        "Open MPI's mpirun and on Cloud TPU they find each other; elsewhere name process 0 by --coordinator.",
    )
    add_config(train)
    train.add_argument("--workdir", type=Path, required=True, help="folder of the run: config, checkpoints, metrics")
    train.add_argument("--allow-config-change", action="store_true", help="go on in a workdir of another config")
    train.add_argument(
        "--tune-malloc",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let glibc keep freed memory: faster on a CPU, holds more (default: yes)",
    )
    add_joining(train)
    train.set_defaults(run=_train, stopping_saves=True)


def _train(options: argparse.Namespace) -> None:
    from wbcjax.commands.config_file import load_config_file
    from wbcjax.settings.checked import ConfigError
    from wbcjax.system import heap, processes, runtime

    try:
        config = load_config_file(options.config, options.overrides)
    except ConfigError as error:
        _refuse(options, error)
    runtime.quiet_libraries()
    if options.tune_malloc:
        heap.tune_malloc()
    try:
        runtime.use_compilation_cache()
        processes.join(options.coordinator, options.process_id, options.num_processes, distributed=options.distributed)
    except ValueError as error:
        _refuse(options, error)
    try:
        with processes.ending_together():
            _run(options, config)
    except KeyboardInterrupt:  # where no handler is set, or a second one
        sys.stderr.write(f"{options.program}: aborted; what was saved before is whole, and the same command goes on\n")
        sys.exit(130)


def _run(options: argparse.Namespace, config: "ConfigDict") -> None:
    from wbcjax.commands.config_file import for_devices
    from wbcjax.runs.initial_weights import UnusableWeights
    from wbcjax.settings.checked import ConfigError
    from wbcjax.system import runtime
    from wbcjax.system.interrupt import Interrupted, breakable, exit_code
    from wbcjax.system.places import check_writable
    from wbcjax.tasks.checks import check_machine
    from wbcjax.tasks.choose import experiment_of, train
    from wbcjax.train.guard import NonFiniteLoss
    from wbcjax.train.workdir import ConfigChanged

    try:
        config = for_devices(config, runtime.device_count())
        experiment = experiment_of(config)
        check_machine(experiment)
        check_writable(options.workdir)
        with breakable():  # a data set may take minutes to build
            task = experiment.task(options.workdir)
    except Interrupted as interrupted:
        sys.exit(exit_code(interrupted.signal))
    except (OSError, ValueError) as error:  # of the settings, or of the set
        _refuse(options, error)
    try:
        stopped_by = train(config, task, options.workdir, allow_config_change=options.allow_config_change)
    except (ConfigError, ConfigChanged, NonFiniteLoss, UnusableWeights, OSError) as error:
        _refuse(options, error)
    if stopped_by:
        sys.exit(exit_code(stopped_by))


def _refuse(options: argparse.Namespace, error: Exception) -> NoReturn:
    from wbcjax.system.places import error_text

    sys.exit(f"{options.program}: {error_text(error)}")
