"""Names and shapes of other libraries' weights, in small sizes, written from their module trees."""

from typing import NamedTuple

import numpy as np

from tests.parity import efficientnet as parity

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
Shapes = dict[str, tuple[int, ...]]


class Sizes(NamedTuple):
    """Those of `tests.models.small`; classes with the background."""

    depth: int = 50
    width: int = 8
    channels: int = 8  # of the pyramid, the RPN and the mask head
    box: int = 16
    classes: int = 3


SMALL = Sizes()
PAPER = Sizes(width=64, channels=256, box=1024, classes=4)


def random(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def torchvision_resnet(s: Sizes = SMALL) -> Shapes:
    """`torchvision.models.resnet50().state_dict()` and its like."""
    expansion = 4 if s.depth >= 50 else 1
    shapes = {"conv1.weight": (s.width, 3, 7, 7)} | _torch_norm("bn1", s.width)
    inputs = s.width
    for stage, blocks in enumerate(BLOCKS[s.depth], start=1):
        width = s.width * 2 ** (stage - 1)
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            kernels = ((1, inputs, width), (3, width, width), (1, width, 4 * width))
            if expansion == 1:
                kernels = ((3, inputs, width), (3, width, width))
            for i, (size, ins, outs) in enumerate(kernels, start=1):
                shapes[f"{name}.conv{i}.weight"] = (outs, ins, size, size)
                shapes |= _torch_norm(f"{name}.bn{i}", outs)
            if block == 0 and (stage > 1 or expansion == 4):
                shapes[f"{name}.downsample.0.weight"] = (expansion * width, inputs, 1, 1)
                shapes |= _torch_norm(f"{name}.downsample.1", expansion * width)
            inputs = expansion * width
    return shapes | _torch("fc", 1000, inputs)


def torchvision_mask_rcnn(s: Sizes = SMALL) -> Shapes:
    """`torchvision.models.detection.maskrcnn_resnet50_fpn().state_dict()`."""
    shapes = {f"backbone.body.{name}": shape for name, shape in torchvision_resnet(s).items() if name[:2] != "fc"}
    for i in range(4):
        top = s.width * 2**i * (4 if s.depth >= 50 else 1)
        shapes |= _torch(f"backbone.fpn.inner_blocks.{i}.0", s.channels, top, 1, 1)
        shapes |= _torch(f"backbone.fpn.layer_blocks.{i}.0", s.channels, s.channels, 3, 3)
        shapes |= _torch(f"roi_heads.mask_head.{i}.0", s.channels, s.channels, 3, 3)
    shapes |= _torch("rpn.head.conv.0.0", s.channels, s.channels, 3, 3)
    shapes |= _torch("rpn.head.cls_logits", 3, s.channels, 1, 1)
    shapes |= _torch("rpn.head.bbox_pred", 12, s.channels, 1, 1)
    shapes |= _torch("roi_heads.box_head.fc6", s.box, s.channels * 49)
    shapes |= _torch("roi_heads.box_head.fc7", s.box, s.box)
    shapes |= _torch("roi_heads.box_predictor.cls_score", s.classes, s.box)
    shapes |= _torch("roi_heads.box_predictor.bbox_pred", 4 * s.classes, s.box)
    shapes |= _transposed("roi_heads.mask_predictor.conv5_mask", s.channels)
    return shapes | _torch("roi_heads.mask_predictor.mask_fcn_logits", s.classes, s.channels, 1, 1)


def torchvision_faster_rcnn(s: Sizes = SMALL) -> Shapes:
    return {name: shape for name, shape in torchvision_mask_rcnn(s).items() if ".mask_" not in name}


def torchvision_published(s: Sizes = SMALL) -> Shapes:
    """The Mask R-CNN as torchvision's own file of 2019 names it."""
    shapes = {}
    for name, shape in torchvision_mask_rcnn(s).items():
        if "fpn" in name or "rpn.head.conv" in name:
            name = name.replace(".0.0.", ".") if "head.conv" in name else name.replace(".0.weight", ".weight")
            name = name.replace(".0.bias", ".bias") if "fpn" in name else name
        if ".mask_head." in name:
            number, leaf = int(name.split(".")[2]), name.rpartition(".")[2]
            name = f"roi_heads.mask_head.mask_fcn{number + 1}.{leaf}"
        shapes[name] = shape
    return shapes


def detectron2_mask_rcnn(s: Sizes = SMALL) -> Shapes:
    """The model zoo's `mask_rcnn_R_50_FPN_3x`."""
    stem = "backbone.bottom_up.stem.conv1"
    shapes = {f"{stem}.weight": (s.width, 3, 7, 7)} | _torch_norm(f"{stem}.norm", s.width)
    inputs = s.width
    for stage, blocks in enumerate(BLOCKS[s.depth], start=2):
        width = s.width * 2 ** (stage - 2)
        for block in range(blocks):
            name = f"backbone.bottom_up.res{stage}.{block}"
            convolutions = {"conv1": (width, inputs, 1, 1), "conv2": (width, width, 3, 3)}
            convolutions |= {"conv3": (4 * width, width, 1, 1)}
            convolutions |= {"shortcut": (4 * width, inputs, 1, 1)} if block == 0 else {}
            for module, shape in convolutions.items():
                shapes[f"{name}.{module}.weight"] = shape
                shapes |= _torch_norm(f"{name}.{module}.norm", shape[0])
            inputs = 4 * width
        shapes |= _torch(f"backbone.fpn_lateral{stage}", s.channels, inputs, 1, 1)
        shapes |= _torch(f"backbone.fpn_output{stage}", s.channels, s.channels, 3, 3)
        shapes |= _torch(f"roi_heads.mask_head.mask_fcn{stage - 1}", s.channels, s.channels, 3, 3)
    shapes |= {f"proposal_generator.anchor_generator.cell_anchors.{i}": (3, 4) for i in range(5)}
    shapes |= _torch("proposal_generator.rpn_head.conv", s.channels, s.channels, 3, 3)
    shapes |= _torch("proposal_generator.rpn_head.objectness_logits", 3, s.channels, 1, 1)
    shapes |= _torch("proposal_generator.rpn_head.anchor_deltas", 12, s.channels, 1, 1)
    shapes |= _torch("roi_heads.box_head.fc1", s.box, s.channels * 49)
    shapes |= _torch("roi_heads.box_head.fc2", s.box, s.box)
    shapes |= _torch("roi_heads.box_predictor.cls_score", s.classes, s.box)
    shapes |= _torch("roi_heads.box_predictor.bbox_pred", 4 * (s.classes - 1), s.box)
    shapes |= _transposed("roi_heads.mask_head.deconv", s.channels)
    return shapes | _torch("roi_heads.mask_head.predictor", s.classes - 1, s.channels, 1, 1)


def matterport(s: Sizes = SMALL) -> Shapes:
    """`mask_rcnn_coco.h5`, with Keras 2's `:0`; the RPN is a model of its own in it."""
    shapes = _keras("conv1", 7, 7, 3, s.width) | _keras_norm("bn_conv1", s.width)
    inputs = s.width
    for stage, blocks in enumerate(BLOCKS[s.depth], start=2):
        width = s.width * 2 ** (stage - 2)
        for block in "abcdefghijklmnopqrstuvw"[:blocks]:
            branches = {"2a": (1, 1, inputs, width), "2b": (3, 3, width, width), "2c": (1, 1, width, 4 * width)}
            branches |= {"1": (1, 1, inputs, 4 * width)} if block == "a" else {}
            for branch, shape in branches.items():
                shapes |= _keras(f"res{stage}{block}_branch{branch}", *shape)
                shapes |= _keras_norm(f"bn{stage}{block}_branch{branch}", shape[-1])
            inputs = 4 * width
        shapes |= _keras(f"fpn_c{stage}p{stage}", 1, 1, inputs, s.channels)
        shapes |= _keras(f"fpn_p{stage}", 3, 3, s.channels, s.channels)
        shapes |= _keras(f"mrcnn_mask_conv{stage - 1}", 3, 3, s.channels, s.channels)
        shapes |= _keras_norm(f"mrcnn_mask_bn{stage - 1}", s.channels)
    shapes |= _keras("rpn_model/rpn_conv_shared", 3, 3, s.channels, s.channels)
    shapes |= _keras("rpn_model/rpn_class_raw", 1, 1, s.channels, 6)
    shapes |= _keras("rpn_model/rpn_bbox_pred", 1, 1, s.channels, 12)
    shapes |= _keras("mrcnn_class_conv1", 7, 7, s.channels, s.box) | _keras_norm("mrcnn_class_bn1", s.box)
    shapes |= _keras("mrcnn_class_conv2", 1, 1, s.box, s.box) | _keras_norm("mrcnn_class_bn2", s.box)
    shapes |= _keras("mrcnn_class_logits", s.box, s.classes) | _keras("mrcnn_bbox_fc", s.box, 4 * s.classes)
    shapes |= {"mrcnn_mask_deconv/kernel:0": (2, 2, s.channels, s.channels)}
    shapes |= {"mrcnn_mask_deconv/bias:0": (s.channels,)}
    return shapes | _keras("mrcnn_mask", 1, 1, s.channels, s.classes)


def torchvision_convnext(width: int = 40, blocks: tuple[int, ...] = (2, 2, 6, 2)) -> Shapes:
    """`torchvision.models.ConvNeXt(...).state_dict()`, by default of the smallest size that we have."""
    shapes = _torch("features.0.0", width, 3, 4, 4) | _torch("features.0.1", width)
    for stage, count in enumerate(blocks):
        channels = width * 2**stage
        if stage > 0:
            shapes |= _torch(f"features.{2 * stage}.0", channels // 2)
            shapes |= _torch(f"features.{2 * stage}.1", channels, channels // 2, 2, 2)
        for block in (f"features.{2 * stage + 1}.{i}" for i in range(count)):
            shapes |= {f"{block}.layer_scale": (channels, 1, 1)}
            shapes |= _torch(f"{block}.block.0", channels, 1, 7, 7) | _torch(f"{block}.block.2", channels)
            shapes |= _torch(f"{block}.block.3", 4 * channels, channels)
            shapes |= {f"{block}.block.5.weight": (channels, 4 * channels), f"{block}.block.5.bias": (channels,)}
    return shapes | _torch("classifier.0", 8 * width) | _torch("classifier.2", 1000, 8 * width)


def efficientnet_torchvision() -> Shapes:
    return dict(parity.committed("torchvision_b0")[0])


def efficientnet_keras() -> Shapes:
    return dict(parity.committed("keras_b0")[0])


ALL = {
    "torchvision's Mask R-CNN": torchvision_mask_rcnn,
    "torchvision's Faster R-CNN": torchvision_faster_rcnn,
    "torchvision's published Mask R-CNN": torchvision_published,
    "torchvision's ResNet": torchvision_resnet,
    "detectron2": detectron2_mask_rcnn,
    "Matterport": matterport,
    "torchvision's EfficientNet": efficientnet_torchvision,
    "Keras's EfficientNet": efficientnet_keras,
    "torchvision's ConvNeXt": torchvision_convnext,
}


def _torch(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _transposed(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels, channels, 2, 2), f"{name}.bias": (channels,)}


def _torch_norm(name: str, channels: int) -> Shapes:
    return {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def _keras(name: str, *kernel: int) -> Shapes:
    return {f"{name}/kernel:0": kernel, f"{name}/bias:0": kernel[-1:]}


def _keras_norm(name: str, channels: int) -> Shapes:
    return {f"{name}/{leaf}:0": (channels,) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")}
