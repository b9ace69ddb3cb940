"""Score a trained model: `python evaluate.py --workdir runs/X [--split test]`, as `wbcjax evaluate`."""

from wbcjax.cli import front

if __name__ == "__main__":
    front("evaluate", "evaluate.py")
