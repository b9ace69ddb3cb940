"""torchvision's Mask R-CNN with filled weights, stage by stage. It imports torch: for the script and the live tests."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops import boxes as box_ops

from tests.parity import fill
from tests.parity import scene as settings
from tests.parity.digest import roi_rows
from tests.parity.scene import Scene
from tests.weights.direct import detector_from_torchvision

Arrays = dict[str, np.ndarray]
Model = Any  # a torchvision MaskRCNN; torch types the attributes of its modules as Tensor | Module

LOSSES = {
    "rpn_objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "class": "loss_classifier",
    "box": "loss_box_reg",
    "mask": "loss_mask",
}


def build(seed: int) -> Model:
    """The model with the weights that `fill.py` draws from `seed`; images are taken at the size they have."""
    model = _empty()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in fill.state_dict(seed).items()})
    model.transform.resize = lambda image, target=None: (image, target)
    return model


def names() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model's state dict."""
    return {name: tuple(value.shape) for name, value in _empty().state_dict().items()}


def predict(model: Model, scene: Scene) -> tuple[Arrays, dict[str, float]]:
    """All stages of a prediction (NHWC, anchors as one row per anchor), and the margins of its decisions."""
    stages: Arrays = {}
    margins: dict[str, float] = {}
    with _hooks(model, stages), _nms_margins(margins), torch.no_grad():
        detections = model.eval()(_images(scene))
    _cut_margins(margins, stages)
    for index, detection in enumerate(detections):
        soft = detection["masks"][:, 0].numpy()
        stages |= {f"detections/{key}/{index}": detection[key].numpy() for key in ("boxes", "labels", "scores")}
        stages |= {f"detections/masks/{index}": soft >= 0.5, f"detections/undecided/{index}": abs(soft - 0.5) < 1e-4}
    return stages, margins


def train(model: Model, scene: Scene, template: Mapping[str, Any]) -> Arrays:
    """Sampled anchors and RoIs, the five losses by our names, and their gradient by our paths, in our layout."""
    targets = [
        {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels), "masks": torch.from_numpy(masks)}
        for boxes, labels, masks in zip(scene.boxes, scene.labels, scene.masks, strict=True)
    ]
    results: Arrays = {}
    model.train().zero_grad()
    with _watched_samples(model, results):
        losses = model(_images(scene), targets)
    torch.stack(list(losses.values())).sum().backward()
    results |= {f"loss/{ours}": losses[theirs].detach().numpy() for ours, theirs in LOSSES.items()}
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    ours: dict[str, Any] = flatten_dict(
        detector_from_torchvision(gradients, {"params": template["params"]})["params"], sep="/"
    )
    return results | {f"gradient/{path}": gradient for path, gradient in ours.items()}


def _empty() -> Model:
    """maskrcnn_resnet50_fpn as it is built for pretrained weights (frozen batch norm), all layers trainable."""
    backbone = _resnet_fpn_extractor(resnet50(weights=None, norm_layer=FrozenBatchNorm2d), 5)
    return MaskRCNN(
        backbone,
        num_classes=settings.CLASSES + 1,
        rpn_pre_nms_top_n_train=settings.CANDIDATES,
        rpn_pre_nms_top_n_test=settings.CANDIDATES,
        rpn_post_nms_top_n_train=settings.PROPOSALS,
        rpn_post_nms_top_n_test=settings.PROPOSALS,
        rpn_batch_size_per_image=settings.ANCHOR_SAMPLES,
        rpn_positive_fraction=settings.POSITIVE_FRACTION,
        box_score_thresh=settings.SCORE_THRESHOLD,
        box_detections_per_img=settings.DETECTIONS,
        box_batch_size_per_image=settings.ROI_SAMPLES,
        box_positive_fraction=settings.POSITIVE_FRACTION,
    )


def _images(scene: Scene) -> list[Tensor]:
    return [
        torch.from_numpy(image[: int(height), : int(width)] / np.float32(255)).permute(2, 0, 1)
        for image, (height, width) in zip(scene.image, scene.size, strict=True)
    ]


@contextlib.contextmanager
def _hooks(model: Model, stages: Arrays) -> Iterator[None]:
    """Write what every stage returns into `stages` while the context is open."""

    def keep(module: nn.Module, write: Callable):
        return module.register_forward_hook(lambda module, inputs, output: write(output))

    def features(names: list[str]) -> Callable:
        return lambda output: stages.update(zip(names, map(_nhwc, output.values()), strict=True))

    def rpn_head(output: tuple[list[Tensor], list[Tensor]]) -> None:
        for name, levels, values in (("rpn/objectness", output[0], 1), ("rpn/deltas", output[1], 4)):
            rows = [_nhwc(level).reshape(len(level), -1, values) for level in levels]  # h, w, anchor order
            stages[name] = np.concatenate(rows, axis=1).squeeze(-1) if values == 1 else np.concatenate(rows, axis=1)

    def proposals(output: tuple[list[Tensor], dict]) -> None:
        stages.update({f"rpn/proposals/{index}": boxes.numpy() for index, boxes in enumerate(output[0])})

    def predictor(output: tuple[Tensor, Tensor]) -> None:
        stages.update({"box_head/logits": output[0].numpy(), "box_head/deltas": output[1].numpy()})

    heads = model.roi_heads
    handles = [
        keep(model.backbone.body, features(["backbone/c2", "backbone/c3", "backbone/c4", "backbone/c5"])),
        keep(model.backbone, features(["fpn/p2", "fpn/p3", "fpn/p4", "fpn/p5", "fpn/p6"])),
        keep(model.rpn.head, rpn_head),
        keep(model.rpn.anchor_generator, lambda output: stages.update({"rpn/anchors": output[0].numpy()})),
        keep(model.rpn, proposals),
        keep(heads.box_roi_pool, lambda output: stages.update({"box_head/features": _nhwc(output)})),
        keep(heads.box_predictor, predictor),
        keep(heads.mask_roi_pool, lambda output: stages.update({"mask_head/features": _nhwc(output)})),
        keep(heads.mask_predictor, lambda output: stages.update({"mask_head/logits": _nhwc(output)})),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nhwc(tensor: Tensor) -> Float[np.ndarray, "n h w c"]:
    return tensor.detach().permute(0, 2, 3, 1).contiguous().numpy()


@contextlib.contextmanager
def _watched_samples(model: Model, results: Arrays) -> Iterator[None]:
    """Write which anchors and RoIs are sampled into `results` while the context is open."""
    sampler, select = model.rpn.fg_bg_sampler, model.roi_heads.select_training_samples

    def anchors(labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positive, negative = sampler(labels)
        results["samples/anchors/positive"] = torch.stack(positive).bool().numpy()
        results["samples/anchors/negative"] = torch.stack(negative).bool().numpy()
        return positive, negative

    def rois(proposals: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], ...]:
        chosen = select(proposals, targets)
        for index, (boxes, _, labels, deltas) in enumerate(zip(*chosen, strict=True)):
            results[f"samples/rois/{index}"] = roi_rows(boxes.numpy(), labels.numpy(), deltas.numpy())
        return chosen

    model.rpn.fg_bg_sampler, model.roi_heads.select_training_samples = anchors, rois
    try:
        yield
    finally:
        model.rpn.fg_bg_sampler, model.roi_heads.select_training_samples = sampler, select


@contextlib.contextmanager
def _nms_margins(margins: dict[str, float]) -> Iterator[None]:
    """While open, note in `margins` how far each choice of NMS lay from falling the other way.

    `overlap`: distance between the threshold and the largest overlap of a box with a better kept one;
    `order`: smallest gap between the scores of kept boxes that follow each other, or of a box and its dropper.
    """
    original = box_ops.batched_nms

    def watched(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
        kept = original(boxes, scores, groups, threshold)
        if len(kept) == 0:
            raise ValueError("nothing left to choose from: take another seed, or livelier last layers in fill.py")
        lead = scores[kept][None] - scores[:, None]  # (boxes, kept)
        rival = (groups[kept][None] == groups[:, None]) & (lead > 0)
        overlap = torch.where(rival, box_ops.box_iou(boxes, boxes[kept]), -1.0)
        dropped_by = torch.where(overlap > threshold, lead, -1.0).amax(1)
        gaps = torch.cat([scores[kept][:-1] - scores[kept][1:], dropped_by[dropped_by >= 0]])
        _keep_least(margins, "overlap", (overlap.amax(1) - threshold).abs())
        _keep_least(margins, "order", gaps)
        return kept

    box_ops.batched_nms = watched
    try:
        yield
    finally:
        box_ops.batched_nms = original


def _cut_margins(margins: dict[str, float], stages: Arrays) -> None:
    """Note in `margins` the gaps between candidates of NMS and those left out, and those at the score threshold."""
    levels = [stages[f"fpn/p{level}"].shape[1:3] for level in range(2, 7)]
    ends = np.cumsum([settings.ANCHOR_SHAPES * height * width for height, width in levels])
    for objectness in np.split(stages["rpn/objectness"], ends[:-1], axis=1):
        ranked = -np.sort(-objectness, axis=1)
        if ranked.shape[1] > settings.CANDIDATES:
            gap = ranked[:, settings.CANDIDATES - 1] - ranked[:, settings.CANDIDATES]
            _keep_least(margins, "top", torch.from_numpy(gap))
    scores = torch.from_numpy(stages["box_head/logits"]).softmax(-1)[:, 1:]
    _keep_least(margins, "score", (scores - settings.SCORE_THRESHOLD).abs())


def _keep_least(margins: dict[str, float], name: str, values: Tensor) -> None:
    margins[name] = min(margins.get(name, float("inf")), float(values.min()))
