"""`wbcjax evaluate`, and `evaluate.py`: score a trained model."""

import argparse
import sys

from wbcjax.commands.arguments import add_joining, add_trust, add_tta, trained_model


def add(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score a trained model on fields that it was not trained on",
        epilog="Prints the scores as tables. Writes scores.json, and the detections behind it, into "
        "WORKDIR/evaluation/val, and the page WORKDIR/report.html; those of `test` all go to WORKDIR/evaluation/test. "
        "What the run was trained on is left out. Data that the run never saw get a folder of their own.",
    )
    evaluate.add_argument(
        "--workdir",
        type=trained_model,
        nargs="+",
        required=True,
        help="folder of a training run; what several find, such as those of folds, is joined, and scored on the data "
        "of the first that none of them has seen",
    )
    evaluate.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="part of the data to score on; default: test where there is one, else val, which chose the best weights",
    )
    evaluate.add_argument("--annotations", help="score on other fields: their annotations, in the run's format")
    evaluate.add_argument("--images", help="and their image folder")
    evaluate.add_argument("--drawn-seed", type=int, help="score on other drawn fields, as many, from this seed on")
    evaluate.add_argument("--crops", help="score on all crops of another folder of class folders")
    evaluate.add_argument(
        "--classifier",
        type=trained_model,
        help="a training run on crops, or its export: score both stages together, cells found and then named by their "
        "crops",
    )
    add_tta(evaluate)
    evaluate.add_argument(
        "--calibrate",
        action="store_true",
        help="fit a temperature to the scores on val first, and keep it with the run for all that is predicted later",
    )
    evaluate.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="weights to score")
    evaluate.add_argument("--out", help="folder for the results, new or empty (default: in the run's folder)")
    add_trust(evaluate)
    add_joining(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from wbcjax.system import heap, processes, runtime
    from wbcjax.system.places import error_text
    from wbcjax.system.terminal import show
    from wbcjax.tasks.choose import evaluate
    from wbcjax.tasks.experiment import Scored

    runtime.quiet_libraries()
    heap.tune_malloc()
    workdir, *with_runs = options.workdir
    scored = Scored(
        options.split or "",
        options.annotations,
        options.images,
        options.drawn_seed,
        options.crops,
        with_runs=tuple(with_runs),
        classifier=options.classifier,
        tta=options.tta,
        calibrate=options.calibrate,
    )
    try:
        runtime.use_compilation_cache()
        processes.join(options.coordinator, options.process_id, options.num_processes, distributed=options.distributed)
    except (OSError, ValueError) as error:
        sys.exit(f"{options.program}: {error_text(error)}")
    with processes.ending_together():
        try:
            tables = evaluate(workdir, options.checkpoint, scored, out=options.out, trust_parts=options.trust_parts)
        except (OSError, ValueError) as error:
            sys.exit(f"{options.program}: {error_text(error)}")
    if processes.is_first():
        show(*tables)
