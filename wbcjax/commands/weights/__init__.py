"""`wbcjax weights`: the contents of weights files, and their conversion to files of ours."""

import argparse
from pathlib import Path

from wbcjax.commands.arguments import add_trust, trained_model


def add(commands: argparse._SubParsersAction) -> None:
    weights = commands.add_parser("weights", help="look at trained weights, and convert them to files to start from")
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="tell the library of a weights file, and the config.model that it needs")
    show.add_argument("file", type=Path, help="a weights file of torch, Keras, detectron2 or ours")
    show.add_argument("--all", action="store_true", help="list every array, not the first alone")
    add_trust(show)
    show.set_defaults(run=_show_weights)
    convert = actions.add_parser("convert", help="write the weights of a file or of a run as a file of ours")
    convert.add_argument("source", type=trained_model, help="a weights file, or a training run: its best weights")
    convert.add_argument(
        "out", type=Path, help="the file to write, for config.init_from; its name ends in .safetensors"
    )
    dtypes = ("float32", "bfloat16", "int8")
    convert.add_argument("--dtype", choices=dtypes, default="float32", help="int8: of kernels (default: float32)")
    convert.add_argument("--parts", nargs="+", default=(), help="of the model: backbone fpn, say (default: all)")
    add_trust(convert)
    convert.set_defaults(run=_convert_weights)
    pack = actions.add_parser(
        "pack", help="write a run as a folder to share: config, notes without names, and weights of a byte each"
    )
    pack.add_argument("workdir", type=trained_model, help="folder of a training run, such as runs/demo")
    pack.add_argument("out", type=Path, help="a new folder; predict and config.init_from take it as a run")
    pack.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="(default: best)")
    add_trust(pack)
    pack.set_defaults(run=_pack)


def _pack(options: argparse.Namespace) -> None:
    from wbcjax.runs.packed import pack
    from wbcjax.system import runtime
    from wbcjax.system.terminal import show

    runtime.quiet_libraries()
    files = pack(options.workdir, options.out, options.checkpoint, options.trust_parts)
    show([f"{path}, {path.stat().st_size / 1e6:.3g} MB" for path in files])


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
