"""Where the time of Mask R-CNN's inference goes: each stage by itself, on the outputs of the stages before it.

The models are those of benchmarks/mask_rcnn.py, with malloc tuned. Ours is compiled stage by stage, torchvision's has
its default layout. Work between the stages (normalising, and masks in image size) is left out.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import mask_rcnn
from benchmarks.results import Result
from benchmarks.timing import Contestant, Task, apart, contest

STAGES = (
    "backbone and FPN",
    "RPN's convolutions",
    "proposals and NMS",
    "RoIAlign of proposals",
    "box head and detections",
    "masks",
)


def results(rounds: int) -> Iterator[Result]:
    for side in (512, 1024):
        options = {"side": side, "threshold": apart(mask_rcnn.score_threshold, side=side, cells=mask_rcnn.CELLS)}
        for name, stage in (("ours", our_stage), ("torchvision", their_stage)):
            contestants = {kind: Contestant(stage, {"stage": kind, **options}) for kind in STAGES}
            yield Result(f"{name}, {side}", contest(contestants, rounds, tuned=True), tuned=True)


def our_stage(stage: str, side: int, threshold: float) -> Task:
    import jax

    model, variables = mask_rcnn.our_model(threshold)
    s = model.settings
    image = jax.device_put(mask_rcnn.draw(side, mask_rcnn.CELLS).image[None])
    size = jax.device_put(np.full((1, 2), side, np.float32))
    canvas = (side, side)

    def heads(m: Any, pooled: Any, boxes: Any, scores: Any) -> Any:
        return m.box_head.detect(lambda boxes, bins: pooled, boxes, jax.numpy.isfinite(scores), size)

    def masks(m: Any, features: Any, found: Any) -> Any:
        return m.mask_head.detect(m.pooler(features, canvas), found)

    methods: dict[str, Callable] = {
        "backbone and FPN": lambda m, image: m.features(image, size),
        "RPN's convolutions": lambda m, features: m.rpn(features),
        "proposals and NMS": lambda m, predicted: m.proposals(predicted, canvas, size, train=False),
        "RoIAlign of proposals": lambda m, features, boxes: m.pooler(features, canvas)(boxes, s.box_head.bins),
        "box head and detections": heads,
        "masks": masks,
    }

    def compiled(name: str) -> Callable:
        apply = jax.jit(lambda variables, *values: model.apply(variables, *values, method=methods[name]))
        return lambda *values: jax.block_until_ready(apply(variables, *values))

    inputs: dict[str, tuple] = {"backbone and FPN": (image,)}
    features = compiled("backbone and FPN")(image)
    predicted = compiled("RPN's convolutions")(features)
    inputs |= {"RPN's convolutions": (features,), "proposals and NMS": (predicted,)}
    if stage not in inputs:
        boxes, scores = compiled("proposals and NMS")(predicted)
        pooled = compiled("RoIAlign of proposals")(features, boxes)
        inputs |= {"RoIAlign of proposals": (features, boxes), "box head and detections": (pooled, boxes, scores)}
    if stage == "masks":
        inputs["masks"] = (features, compiled("box head and detections")(pooled, boxes, scores))
    task = compiled(stage)
    return lambda: task(*inputs[stage])


def their_stage(stage: str, side: int, threshold: float) -> Task:
    import torch
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.roi_heads import maskrcnn_inference
    from torchvision.models.detection.rpn import concat_box_prediction_layers

    model = mask_rcnn.their_model(threshold).eval()
    rpn, roi, sizes = model.rpn, model.roi_heads, [(side, side)]
    field = torch.from_numpy(mask_rcnn.draw(side, mask_rcnn.CELLS).image).permute(2, 0, 1).float() / 255
    image = model.transform.normalize(field)[None]  # without it no cell is found, and no mask made

    def propose(features: Any, logits: Any, deltas: Any) -> Any:
        anchors = rpn.anchor_generator(ImageList(image, sizes), list(features.values()))
        per_level = [level[0].numel() for level in logits]
        scores, flat_deltas = concat_box_prediction_layers(logits, deltas)
        boxes = rpn.box_coder.decode(flat_deltas, anchors).view(1, -1, 4)
        return rpn.filter_proposals(boxes, scores, sizes, per_level)[0]

    def detect(pooled: Any, boxes: Any) -> Any:
        logits, deltas = roi.box_predictor(roi.box_head(pooled))
        return roi.postprocess_detections(logits, deltas, boxes, sizes)

    def outline(features: Any, boxes: Any, labels: Any) -> Any:
        pooled = roi.mask_roi_pool(features, boxes, sizes)
        return maskrcnn_inference(roi.mask_predictor(roi.mask_head(pooled)), labels)

    with torch.inference_mode():
        features = model.backbone(image)
        logits, deltas = rpn.head(list(features.values()))
        boxes = propose(features, logits, deltas)
        pooled = roi.box_roi_pool(features, boxes, sizes)
        found, _, labels = detect(pooled, boxes)
    tasks: dict[str, Task] = {
        "backbone and FPN": lambda: model.backbone(image),
        "RPN's convolutions": lambda: rpn.head(list(features.values())),
        "proposals and NMS": lambda: propose(features, logits, deltas),
        "RoIAlign of proposals": lambda: roi.box_roi_pool(features, boxes, sizes),
        "box head and detections": lambda: detect(pooled, boxes),
        "masks": lambda: outline(features, found, labels),
    }
    return torch.inference_mode()(tasks[stage])
