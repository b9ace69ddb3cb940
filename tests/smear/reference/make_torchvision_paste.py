"""Writes torchvision_paste.npz: masks pasted by torchvision. Needs torch and torchvision; run it from anywhere."""

from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

HEIGHT, WIDTH = 60, 80
BOXES = {
    28: [
        [10.2, 12.7, 40.9, 33.3],  # inside
        [0, 0, 80, 60],  # the whole image
        [0, 20.5, 13.4, 47.1],  # at the left border
        [61.3, 40.2, 80, 60],  # at the bottom right corner
        [30.1, 30.2, 30.6, 30.4],  # less than a pixel
        [30, 30, 44, 44],  # half the mask's size
        [5.5, 40, 7, 59],  # thin
        [20, 20, 48, 48],  # exactly the mask's size
        [70, 2, 79.999, 3],
        [12, 12, 12, 12],  # empty
        [-3.5, -4.25, 20, 20],  # reaching out of the image
        [70, 50, 95.5, 77],
    ],
    14: [[3.3, 4.4, 50.5, 20.2], [40, 10, 54, 24], [33.3, 0, 34.9, 60]],
}

arrays = {}
rng = np.random.default_rng(0)
for size, rows in BOXES.items():
    boxes = np.array(rows, np.float32)
    coarse = rng.random((len(boxes), 1, 5, 5), dtype=np.float32)
    smooth = torch.nn.functional.interpolate(torch.tensor(coarse), (size, size), mode="bicubic").clamp(0, 1)
    smooth = np.round(smooth.numpy()[:, 0] * 255).astype(np.uint8)  # (d, size, size), kept as bytes
    probabilities = torch.tensor(smooth.astype(np.float32) / np.float32(255))
    pasted = paste_masks_in_image(probabilities[:, None], torch.tensor(boxes), (HEIGHT, WIDTH))[:, 0] > 0.5
    arrays |= {f"probabilities_{size}": smooth, f"boxes_{size}": boxes, f"pasted_{size}": np.packbits(pasted.numpy())}
np.savez_compressed(Path(__file__).with_name("torchvision_paste.npz"), height=HEIGHT, width=WIDTH, **arrays)
