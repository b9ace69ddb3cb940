"""Score a trained model: `python evaluate.py --workdir runs/X [--split test]`.

Prints the scores as tables. Writes scores.json, and the detections behind it, into runs/X/evaluation/val, and the page
runs/X/report.html; those of `test` all go to runs/X/evaluation/test. The part `test` is scored where the run has one,
else `val`, which also chose the best checkpoint. What the run was trained on is left out.

Data that the run never saw get a folder of their own: `--annotations other/via.json --images other/images` for a
detector, `--drawn_seed 1000000` for one of drawn fields, `--crops folder` for a classifier. Where the run's folder
cannot be written, `--out` names another.
"""

from absl import app, flags

from wbcjax.commands import evaluate
from wbcjax.commands.command_line import parse_flags

flags.adopt_module_key_flags(evaluate)  # for --help

if __name__ == "__main__":
    app.run(evaluate.main, flags_parser=parse_flags)
