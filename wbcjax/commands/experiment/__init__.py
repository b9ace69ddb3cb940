"""`wbcjax experiment`: a grid of settings, seeds and folds, each trained and scored, and compared on one page."""

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wbcjax.commands.arguments import CONFIG_USAGE, add_config, seed
from wbcjax.enhance import METHODS

if TYPE_CHECKING:
    from wbcjax.commands.experiment.grid import Axis

OF_GRID, OF_CONTRAST = ("vary", "fields", "seeds", "folds"), ("methods", "protocol")  # flags


def add(commands: argparse._SubParsersAction) -> None:
    experiment = commands.add_parser(
        "experiment",
        help="train and score a grid of settings, seeds and folds, and compare them on one page",
        usage=f"%(prog)s [-h] {CONFIG_USAGE} --workdir DIR [--vary KEY VALUE ...] [--fields N ...] [--seeds N ...] "
        "[--folds N]\n       %(prog)s contrast [-h] "
        f"{CONFIG_USAGE} --workdir DIR [--methods METHOD ...] [--protocol {{default,paper}}]",
        epilog="Every run is a folder of DIR. DIR/experiment.html has means, intervals, tests and curves; "
        "experiment.csv and runs.csv the figures. The same command goes on from where it stopped. When a run fails the "
        "others go on, and the exit code is 1.",
    )
    add_config(experiment)
    experiment.add_argument(
        "preset",
        nargs="?",
        choices=("contrast",),
        help="contrast: once for each contrast enhancement, with Tables 1 and 2 of Revanda et al. in DIR/tables.txt",
    )
    experiment.add_argument("--workdir", type=Path, required=True, help="folder of the runs, a folder each")
    experiment.add_argument(
        "--vary",
        nargs="+",
        action="append",
        metavar=("KEY", "VALUE"),
        help="a setting of the config and its values, such as --vary dataset.enhance none eff_minmax; variant is that "
        "of the config file. May be given again. Each value of the first one is compared with its first, all else "
        "equal",
    )
    experiment.add_argument(
        "--fields",
        nargs="+",
        type=_fields,
        metavar="N",
        help="a learning curve: train on so many of the training fields, such as --fields 10 30 100 all; of one seed "
        "the fewer lie among the more",
    )
    experiment.add_argument("--seeds", nargs="+", type=seed, metavar="N", help="default: the config's seed alone")
    experiment.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="cross-validation: every field, or every group of them, tests in one of N runs",
    )
    experiment.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="METHOD",
        help=f"of contrast: of {', '.join(METHODS)} (default: the paper's five, for EFF eff_minmax)",
    )
    experiment.add_argument(
        "--protocol",
        choices=("default", "paper"),
        help="of contrast: default: the config's split; paper: trained on 45 flips, of 20 fields of each subtype, "
        "validated on the other 15 and tested on all fields, also on those that the flips are of",
    )
    experiment.set_defaults(run=_experiment)


def _experiment(options: argparse.Namespace) -> None:
    from wbcjax.system import heap, runtime
    from wbcjax.system.interrupt import exit_code

    others = OF_GRID if options.preset else OF_CONTRAST
    if given := [f"--{name}" for name in others if getattr(options, name) is not None]:
        options.parser.error(f"{given[0]} is {'not ' * bool(options.preset)}for `experiment contrast`")
    runtime.quiet_libraries()
    heap.tune_malloc()
    runtime.use_compilation_cache()
    stopped_by = _contrast(options) if options.preset else _grid(options)
    if stopped_by:
        sys.exit(exit_code(stopped_by))


def _grid(options: argparse.Namespace) -> signal.Signals | None:
    from wbcjax.commands.experiment.grid import Base, Repeats, plan
    from wbcjax.commands.experiment.results import PAGE, RUNS, SETTINGS, Results
    from wbcjax.commands.experiment.running import run_all
    from wbcjax.report.experiment_page import experiment_blocks
    from wbcjax.system import runtime
    from wbcjax.system.places import check_writable
    from wbcjax.system.terminal import show
    from wbcjax.tasks.checks import check_machine
    from wbcjax.tasks.choose import experiment_of

    axes = _axes(options)
    base = Base(options.config, tuple(options.overrides), runtime.device_count())
    runs = plan(base, axes, Repeats(tuple(options.seeds or ()), options.folds or 0), options.workdir)
    for run in runs:
        check_machine(experiment_of(run.config))
    check_writable(options.workdir)
    results = Results(options.workdir, [axis.key for axis in axes], runs)
    try:
        return run_all(runs, results.write)
    finally:
        if results.written:
            place = f"The page is {options.workdir / PAGE}; beside it are {SETTINGS}, {RUNS} and the runs"
            show(*experiment_blocks(results.written), place)


def _contrast(options: argparse.Namespace) -> signal.Signals | None:
    from wbcjax.commands.config_file import for_devices, load_config_file
    from wbcjax.commands.experiment.contrast import PAPER_METHODS, contrast, tables_of
    from wbcjax.commands.experiment.results import PAGE
    from wbcjax.system import runtime
    from wbcjax.system.terminal import show
    from wbcjax.tasks.checks import check_machine
    from wbcjax.tasks.choose import experiment_of

    config = for_devices(load_config_file(options.config, options.overrides), runtime.device_count())
    check_machine(experiment_of(config))
    methods, protocol = options.methods or PAPER_METHODS, options.protocol or "default"
    stopped_by = contrast(config, options.workdir, methods, protocol)
    if not stopped_by:
        show(*tables_of(options.workdir), f"{options.workdir} has tables.txt, results.json and {PAGE}")
    return stopped_by


def _axes(options: argparse.Namespace) -> "list[Axis]":
    """The settings that are varied, in the order of the command line, the number of fields last."""
    from wbcjax.commands.experiment.grid import TRAIN_FIELDS, Axis

    for key, *values in options.vary or ():
        if not values:
            options.parser.error(
                f"--vary {key} has no values: give some, such as --vary dataset.enhance none eff_minmax"
            )
    axes = [Axis(key.removeprefix("config."), tuple(values)) for key, *values in options.vary or ()]
    return axes + ([Axis(TRAIN_FIELDS, tuple(options.fields))] if options.fields else [])


def _fields(text: str) -> str:
    if text != "all" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is no number of fields; give whole numbers above 0, or all")
    return text
