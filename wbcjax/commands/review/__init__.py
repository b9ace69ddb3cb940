"""`wbcjax review`: a page in the browser to look at what was found, correct it, and train again."""

import argparse
from pathlib import Path

from wbcjax.commands.arguments import add_max_pixels, add_trust, score, trained_model
from wbcjax.system.terminal import Attention, show


def add(commands: argparse._SubParsersAction) -> None:
    review = commands.add_parser(
        "review",
        help="a page in the browser to look at cells, correct them, and train again",
        usage="%(prog)s [-h] [RUN] IMAGES --out FOLDER [--annotations FILE | --classes NAME ...] [--train] ...",
        epilog="The same command opens a review again as it was. From a cluster: ssh -L PORT:localhost:PORT HOST, and "
        "the printed address in the browser here.",
    )
    review.add_argument(
        "place",
        nargs="+",
        type=trained_model,
        metavar="[RUN] IMAGES",
        help="a run, if any, or starter; folder of images",
    )
    review.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the review: journal, annotations")
    review.add_argument("--annotations", type=Path, help="begin with the cells of a file or folder of any format")
    review.add_argument("--group-attribute", help="of the annotations: fields of one value (a patient) stay together")
    review.add_argument("--classes", nargs="+", metavar="NAME", help="without a run and annotations (default: cell)")
    review.add_argument("--min-score", type=score, help="from which a cell counts as found (default: the run's)")
    review.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="of the run (default: best)")
    review.add_argument("--reviewer", help="the name that the journal has (default: this user's)")
    review.add_argument("--port", type=int, default=0, help="of the server on this machine (default: a free one)")
    review.add_argument("--train", action="store_true", help="train on the fields that are done, and serve no page")
    review.add_argument("--train-steps", type=_steps, default=0, help="of a training (default: by the fields)")
    review.add_argument(
        "--browser", action=argparse.BooleanOptionalAction, default=True, help="open the page (default: yes)"
    )
    add_max_pixels(review)
    add_trust(review)
    review.set_defaults(run=_review)


def _steps(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text} is no number of steps; give a whole number above 0")
    return int(text)


def _review(options: argparse.Namespace) -> None:
    if len(options.place) > 2:
        raise ValueError("give a run, if there is one, and one folder of images")
    if not 0 <= options.port < 2**16:
        raise ValueError(f"--port is {options.port}: give one from 1 to 65535, or 0 for a free one")
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the page needs {error.name}: pip install 'wbcjax[review]'") from error
    from wbcjax.commands.review.begin import check_folder
    from wbcjax.commands.review.serve import held

    check_folder(options.out, options.place[-1])
    with held(options.out):
        _open(options)


def _open(options: argparse.Namespace) -> None:
    from wbcjax.commands.review.begin import begun
    from wbcjax.commands.review.exports import Exporter
    from wbcjax.commands.review.serve import Models, serve, train_and_wait
    from wbcjax.commands.review.server import Desk
    from wbcjax.commands.review.training import Training

    reviewed, models, failed = begun(options)
    if told := [Attention(line) for line in (*failed, *_missing(reviewed.missing))]:
        show(told)
    training = Training(reviewed, models, options.trust_parts, options.train_steps)
    if options.train:
        train_and_wait(training)
        return
    desk = Desk(reviewed, Exporter(reviewed), training)
    if models:
        from wbcjax.system import heap, runtime

        heap.tune_malloc()
        runtime.use_compilation_cache()
    serve(Models(desk, options.checkpoint, options.trust_parts), options.port, browser=options.browser)


def _missing(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"corrected before, and no image is there now: {', '.join(names)}. The journal keeps their corrections"]
