"""`wbcjax export`: a trained model as files."""

import argparse
import sys
from pathlib import Path

from wbcjax.commands.arguments import add_trust, trained_model


def add(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser("export", help="write a trained model as files that need neither run nor wbcjax")
    export.add_argument("workdir", type=trained_model, help="folder of a training run, such as runs/demo")
    export.add_argument("--out", type=Path, required=True, help="a new folder, or a file X.stablehlo in one")
    export.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="(default: best)")
    add_trust(export)
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from wbcjax.commands.export.model import export_run
    from wbcjax.system import runtime

    runtime.use_cpu()  # to trace the network of every platform takes no accelerator
    for path in export_run(options.workdir, options.out, options.checkpoint, options.trust_parts):
        sys.stdout.write(f"{path}, {path.stat().st_size / 1e6:.3g} MB\n")
