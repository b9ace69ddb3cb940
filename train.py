"""Train a model: `python train.py --config configs/X.py [--config.a.b=c ...] --workdir runs/X`.

The same command goes on from where it stopped. Ctrl-C or SIGTERM finishes the step, saves, and exits with 130 or 0. A
second one aborts. On several hosts, start the same command on each. Under Slurm's srun, Open MPI's mpirun and on Cloud
TPU they find each other; elsewhere add --coordinator=HOST:PORT --num_processes=P --process_id=0 (to P - 1).
"""

from absl import app, flags

from wbcjax.commands import train
from wbcjax.commands.command_line import parse_flags

flags.adopt_module_key_flags(train)  # for --help

if __name__ == "__main__":
    app.run(train.main, flags_parser=parse_flags)
