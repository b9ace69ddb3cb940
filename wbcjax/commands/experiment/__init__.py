"""`wbcjax experiment`: the trainings that a paper's tables compare."""

import argparse
import sys
from pathlib import Path

from wbcjax.commands.arguments import CONFIG_USAGE, add_config
from wbcjax.enhance import METHODS


def add(commands: argparse._SubParsersAction) -> None:
    experiment = commands.add_parser("experiment", help="train and evaluate the models that a paper's tables compare")
    experiments = experiment.add_subparsers(required=True, metavar="EXPERIMENT")
    contrast = experiments.add_parser(
        "contrast",
        help="once for each contrast enhancement: Tables 1 and 2 of Revanda et al.",
        usage=f"%(prog)s [-h] {CONFIG_USAGE} --workdir DIR [--methods METHOD ...] [--protocol {{default,paper}}]",
        epilog="The same command goes on from where it stopped.",
    )
    add_config(contrast)
    contrast.add_argument("--workdir", type=Path, required=True, help="folder of the runs, a folder each, and tables")
    contrast.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="METHOD",
        help=f"of {', '.join(METHODS)} (default: the paper's five, for EFF eff_minmax)",
    )
    contrast.add_argument(
        "--protocol",
        choices=("default", "paper"),
        default="default",
        help="default: the config's split; paper: trained on 45 flips, of 20 fields of each subtype, validated on "
        "the other 15 and tested on all fields, also on those that the flips are of",
    )
    contrast.set_defaults(run=_contrast)


def _contrast(options: argparse.Namespace) -> None:
    from wbcjax.commands.config_file import for_devices, load_config_file
    from wbcjax.commands.experiment.contrast import PAPER_METHODS, contrast, tables_path
    from wbcjax.system import heap, runtime
    from wbcjax.system.interrupt import exit_code
    from wbcjax.tasks.checks import check_machine
    from wbcjax.tasks.choose import experiment_of
    from wbcjax.train.guard import NonFiniteLoss

    runtime.quiet_libraries()
    heap.tune_malloc()
    runtime.use_compilation_cache()
    config = for_devices(load_config_file(options.config, options.overrides), runtime.device_count())
    check_machine(experiment_of(config))
    try:
        stopped_by = contrast(config, options.workdir, options.methods or PAPER_METHODS, options.protocol)
    except NonFiniteLoss as error:
        sys.exit(f"wbcjax: {error}")
    if stopped_by:
        sys.exit(exit_code(stopped_by))
    tables = tables_path(options.workdir).read_text(encoding="utf-8")
    sys.stdout.write(f"{tables}\n{options.workdir} has tables.txt, results.json\n")
