"""Train a model: `python train.py --config configs/X.py [--config.a.b=c ...] --workdir runs/X`, as `wbcjax train`."""

from wbcjax.cli import front

if __name__ == "__main__":
    front("train", "train.py")
