"""Write `reference.npz` and `torchvision_names.txt` anew: `python -m tests.parity.make_reference` (extra `parity`).

The seed is chosen so that no decision of the reference is a close one: see MARGINS and `reference.predict`. A seed that
does not keep them is refused, here and in the live tests.
"""

from pathlib import Path

import numpy as np
import torch

from tests.parity import fill, ours, reference, scene
from tests.parity.digest import digest

PATH = Path(__file__).parent / "reference.npz"
# Float32 implementations differ by about 1e-6 in scores and overlaps.
MARGINS = {"overlap": 2e-4, "order": 1e-5, "top": 2e-4, "score": 5e-4}


def run(seed: int) -> dict[str, np.ndarray]:
    """torchvision's stages, samples, losses and gradients for one seed of weights and scene, by our names."""
    torch.set_num_threads(1)
    model = reference.build(seed)
    drawn = scene.draw(seed)
    stages, margins = reference.predict(model, drawn)
    close = {name: margin for name, margin in margins.items() if margin < MARGINS[name]}
    if close:
        raise ValueError(f"seed {seed} leaves decisions too close to call: {close}; at least {MARGINS} is wanted")
    return stages | reference.train(model, drawn, ours.shapes())


def main() -> None:
    fill.NAMES.write_text("".join(f"{name} {' '.join(map(str, shape))}\n" for name, shape in reference.names().items()))
    np.savez_compressed(PATH, allow_pickle=False, **digest(run(scene.COMMITTED_SEED)))


if __name__ == "__main__":
    main()
