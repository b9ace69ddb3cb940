"""`wbcjax weights`: the contents of weights files, and their conversion to files of ours."""

import argparse
from pathlib import Path

from wbcjax.commands.arguments import add_trust


def add(commands: argparse._SubParsersAction) -> None:
    weights = commands.add_parser("weights", help="look at trained weights, and convert them to files to start from")
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="tell the library of a weights file, and the config.model that it needs")
    show.add_argument("file", type=Path, help="a weights file of torch, Keras, detectron2 or ours")
    show.add_argument("--all", action="store_true", help="list every array, not the first alone")
    add_trust(show)
    show.set_defaults(run=_show_weights)
    convert = actions.add_parser("convert", help="write the weights of a file or of a run as a file of ours")
    convert.add_argument("source", type=Path, help="a weights file, or the folder of a training run: its best weights")
    convert.add_argument(
        "out", type=Path, help="the file to write, for config.init_from; its name ends in .safetensors"
    )
    convert.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="(default: float32)")
    convert.add_argument("--parts", nargs="+", default=(), help="of the model: backbone fpn, say (default: all)")
    add_trust(convert)
    convert.set_defaults(run=_convert_weights)


def _show_weights(options: argparse.Namespace) -> None:
    from wbcjax.commands.weights.files import contents
    from wbcjax.system.terminal import show

    show(*contents(options.file, options.all, options.trust_parts))


def _convert_weights(options: argparse.Namespace) -> None:
    from wbcjax.commands.weights.files import convert_weights
    from wbcjax.system import runtime
    from wbcjax.system.terminal import show

    runtime.quiet_libraries()
    show(convert_weights(options.source, options.out, options.dtype, options.parts, options.trust_parts))
