"""Mask R-CNN R50-FPN: inference and training steps, ours and torchvision's `maskrcnn_resnet50_fpn`.

`python -m benchmarks.mask_rcnn train --side 1024 --tune-malloc` measures one row alone: against torchvision's best, in
channels_last with malloc tuned on both sides. Without `--tune-malloc`, against its default, with malloc as it is.

Both have the same weights, filled by name (tests/parity/fill.py, 3 classes beside the background), the same settings
(torchvision's: 1000 proposals, 100 detections at most; frozen batch norm, all layers trained) and the same drawn field
of 20 lymphoblasts. The times include:

inference   from an RGB field in host memory (uint8) to boxes, classes, scores and masks in host memory. The score
            threshold is set so that both find as many cells as there are. `paste` "none": masks stay in their boxes'
            frames, 28 x 28. "image": ours are pasted and encoded as COCO's RLE. torchvision's own forward pastes its
            masks as float maps of the image's size; they are neither thresholded nor encoded.
train       forward, five losses, backward, SGD with momentum; the batch lies in host memory.

torchvision's resizing is left out (images have the right size). Both sides normalise.
"""

import argparse
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from benchmarks.results import Result, summary
from benchmarks.timing import Contestant, Task, apart, contest
from tests.parity import fill

CLASSES = 3
CELLS = 20  # in a field
MAX_CELLS = 64  # places in our batch, configs/base.py's default: torchvision's targets have no padding
PROPOSALS = 1000  # in training twice as many
DETECTIONS = 100  # at most; more where there are more cells
MICRONS = 138.0  # side of the field: at 512 pixels 3.7 pixels to the micron
RATE, MOMENTUM = 1e-6, 0.9  # so small a rate keeps the weights, and with them the work

Paste = Literal["none", "image"]


class Field(NamedTuple):
    """An annotated square field."""

    image: np.ndarray  # (h, w, 3) uint8
    boxes: np.ndarray  # (c, 4) float32
    labels: np.ndarray  # (c,)
    masks: np.ndarray  # (c, h, w) uint8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("inference", "train"))
    parser.add_argument("--side", type=int, default=512, help="of the field, in pixels")
    parser.add_argument("--batch", type=int, default=1, help="fields at a time")
    parser.add_argument("--proposals", type=int, default=PROPOSALS, help="of a field in prediction; twice in training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tune-malloc", action="store_true", help="on both sides, and torchvision in channels_last")
    chosen = parser.parse_args()
    options = {"side": chosen.side, "batch": chosen.batch, "proposals": chosen.proposals}
    if chosen.work == "inference":
        options["threshold"] = apart(score_threshold, side=chosen.side, cells=CELLS)
    contestants = pair(chosen.work, **options)
    del contestants["torchvision" if chosen.tune_malloc else "torchvision, channels_last"]
    print(summary(contest(contestants, chosen.rounds, tuned=chosen.tune_malloc)))


def results(rounds: int) -> Iterator[Result]:
    """Inference without and with pasting, and the training step, each with malloc as it is and tuned."""
    for side in (512, 1024):
        threshold = apart(score_threshold, side=side, cells=CELLS)
        work: dict[str, tuple[str, dict[str, Any]]] = {
            f"inference, {side}": ("inference", {"threshold": threshold}),
            f"inference with pasting, {side}": ("inference", {"threshold": threshold, "paste": "image"}),
            f"training step, {side}": ("train", {}),
        }
        for title, (kind, options) in work.items():
            flops = apart(count_flops, work=kind, side=side, **options)
            for tuned in (False, True):
                together = fit_together(kind, side)
                records = contest(pair(kind, side=side, **options), rounds, tuned=tuned, together=together)
                yield Result(title, records, tuned, flops=flops)


def fit_together(work: str, side: int, batch: int = 1) -> bool:
    """Whether all contestants fit into 24 GB side by side."""
    return work == "inference" or batch * side**2 < 1024**2


def draw(side: int, cells: int, seed: int = 0) -> Field:
    """A field of `side` pixels, always of the same microns, with so many lymphoblasts."""
    from wbcjax.smear.synthetic import SyntheticSmear, render

    microns = MICRONS if cells <= 60 else MICRONS * (cells / 60) ** 0.5
    smear = SyntheticSmear(side, side, side / microns, cells=(cells, cells), others=(0, 0), empty=0.0)
    field = render(smear, seed)
    rles: Any = [cell.rle for cell in field.cells]
    masks = np.stack([coco_mask.decode(rle) for rle in rles])
    x, y, w, h = coco_mask.toBbox(rles).T
    boxes = np.stack([x, y, x + w, y + h], axis=1).astype(np.float32)
    return Field(field.image(), boxes, np.array([cell.label for cell in field.cells]), masks)


def pair(work: str, **options: Any) -> dict[str, Contestant]:
    """Ours and torchvision's, in its default layout and in channels_last, at "inference" or "train"."""
    ours, theirs = {"inference": (our_inference, their_inference), "train": (our_step, their_step)}[work]
    return {
        "ours": Contestant(ours, options),
        "torchvision": Contestant(theirs, options),
        "torchvision, channels_last": Contestant(theirs, {**options, "channels_last": True}),
    }


# Ours


def our_model(threshold: float = 0.05, cells: int = CELLS, proposals: int = PROPOSALS) -> tuple[Any, Any]:
    """The model and its filled variables."""
    import jax

    from tests.weights.direct import detector_from_torchvision
    from wbcjax.models import mask_rcnn
    from wbcjax.models.settings import TORCHVISION
    from wbcjax.ops.cpu import on_cpu

    rpn = TORCHVISION.rpn.clone(proposals_train=2 * proposals, proposals_test=proposals)
    detection = dataclasses.replace(TORCHVISION.detection, score_threshold=threshold, per_image=max(cells, DETECTIONS))
    settings = dataclasses.replace(TORCHVISION, rpn=rpn, detection=detection)
    model = mask_rcnn.MaskRCNN(settings, CLASSES + 1, on_cpu())
    shapes = jax.eval_shape(lambda: mask_rcnn.init(model, seed=0))
    return model, jax.device_put(detector_from_torchvision(fill.state_dict(0), shapes))


def our_inference(
    side: int, threshold: float, cells: int = CELLS, paste: Paste = "none", batch: int = 1, proposals: int = PROPOSALS
) -> Task:
    import jax

    from wbcjax.smear.paste import paste as paste_masks

    model, variables = our_model(threshold, cells, proposals)
    image = np.stack([draw(side, cells).image] * batch)
    size = np.full((batch, 2), side, np.float32)
    apply = jax.jit(functools.partial(model.apply, method="predict"))

    def run() -> Any:
        found: Any = jax.device_get(apply(variables, image, size))
        if paste == "none":
            return found
        return [
            paste_masks(found.masks[i][found.valid[i]], found.boxes[i][found.valid[i]], side, side, "torchvision")
            for i in range(batch)
        ]

    return run


def our_batch(side: int, cells: int, batch: int) -> Any:
    from wbcjax.batch import Batch

    field, places = draw(side, cells), max(cells, MAX_CELLS)

    def padded(values: np.ndarray) -> np.ndarray:
        return np.stack([np.pad(values, [(0, places - cells), *[(0, 0)] * (values.ndim - 1)])] * batch)

    present = padded(np.ones(cells, bool))
    masks, corners = in_windows(field)
    return Batch(
        image=np.stack([field.image] * batch),
        size=np.full((batch, 2), side, np.float32),
        boxes=padded(field.boxes),
        labels=padded(field.labels),
        valid=present,
        crowd=np.zeros_like(present),
        outlined=present,
        masks=padded(masks),
        corners=padded(corners),
        index=np.arange(batch),
    )


def in_windows(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Masks and corners of the cells, in windows as the input makes them."""
    from wbcjax.input.augment import Augment
    from wbcjax.input.field_set import Measures
    from wbcjax.input.windows import window_corner, window_size

    (height, width), sides = field.image.shape[:2], field.boxes[:, 2:] - field.boxes[:, :2]
    canvas = height, width
    window = window_size([Measures(height, width, len(sides), int(sides.max()))], canvas, Augment())
    corners = np.array([window_corner(tuple(box), window, canvas) for box in field.boxes])
    cut = [
        mask[y : y + window[0], x : x + window[1]] for mask, (x, y) in zip(field.masks, corners.tolist(), strict=True)
    ]
    return np.stack(cut), corners.astype(np.int32)


def our_step(side: int, cells: int = CELLS, batch: int = 1, proposals: int = PROPOSALS) -> Task:
    import jax
    import optax

    model, variables = our_model(proposals=proposals)
    optimizer = optax.sgd(RATE, MOMENTUM)
    fields = our_batch(side, cells, batch)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, fields: Any, key: Any) -> tuple[Any, Any, Any]:
        def loss(params: Any) -> Any:
            keys = jax.random.split(key, batch)
            losses: Any = model.apply({**variables, "params": params}, fields, keys, method="losses")
            return sum(losses.values())

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    state = [variables["params"], jax.jit(optimizer.init)(variables["params"])]

    def run() -> float:
        state[0], state[1], value = step(state[0], state[1], fields, jax.random.key(0))
        return float(value)

    return run


# torchvision's


def their_model(
    threshold: float = 0.05, cells: int = CELLS, proposals: int = PROPOSALS, channels_last: bool = False
) -> Any:
    import torch
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d

    backbone = _resnet_fpn_extractor(resnet50(weights=None, norm_layer=FrozenBatchNorm2d), 5)
    model: Any = MaskRCNN(
        backbone,
        num_classes=CLASSES + 1,
        box_score_thresh=threshold,
        box_detections_per_img=max(cells, DETECTIONS),
        rpn_post_nms_top_n_test=proposals,
        rpn_post_nms_top_n_train=2 * proposals,
    )
    model.load_state_dict({name: torch.from_numpy(value) for name, value in fill.state_dict(0).items()})
    model.transform.resize = lambda image, target=None: (image, target)
    if channels_last:
        model.to(memory_format=torch.channels_last)
        backbone.register_forward_pre_hook(lambda _, images: (images[0].contiguous(memory_format=torch.channels_last),))
    return model


def their_inference(
    side: int,
    threshold: float,
    cells: int = CELLS,
    paste: Paste = "none",
    batch: int = 1,
    proposals: int = PROPOSALS,
    channels_last: bool = False,
) -> Task:
    import torch

    model = their_model(threshold, cells, proposals, channels_last).eval()
    if paste == "none":
        model.transform.postprocess = lambda result, *_: result
    image = draw(side, cells).image

    def run() -> Any:
        with torch.inference_mode():
            found = model([_tensor(image)] * batch)
        return [{name: value.numpy() for name, value in of_image.items()} for of_image in found]

    return run


def their_step(
    side: int, cells: int = CELLS, batch: int = 1, proposals: int = PROPOSALS, channels_last: bool = False
) -> Task:
    import torch

    model = their_model(proposals=proposals, channels_last=channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM)
    field = draw(side, cells)
    target = {name: torch.from_numpy(getattr(field, name)) for name in ("boxes", "labels", "masks")}

    def run() -> float:
        optimizer.zero_grad()
        losses = model([_tensor(field.image)] * batch, [dict(target)] * batch)
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def score_threshold(side: int, cells: int) -> float:
    """A threshold that leaves `cells` detections: between the scores of the last of them and the next."""
    import torch

    model = their_model(0.0, cells)
    model.roi_heads.detections_per_img = cells + 1
    with torch.inference_mode():
        (found,) = model.eval()([_tensor(draw(side, cells).image)])
    return float(found["scores"][-2:].mean())


def _tensor(image: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def count_flops(work: str, **options: Any) -> float:
    """Of torchvision's, by torch's counter: convolutions and matrix products, a multiply-add as two."""
    from torch.utils.flop_counter import FlopCounterMode

    task = {"inference": their_inference, "train": their_step}[work](**options)
    with FlopCounterMode(display=False) as counter:
        task()
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
