"""The libraries whose weights can be read: their recognition, tables of names, and settings of training."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from wbcjax.models.norm import FROZEN
from wbcjax.models.settings import EFFICIENTNET_KERAS, EFFICIENTNET_TORCHVISION, MaskRCNNSettings
from wbcjax.settings.parts import as_values
from wbcjax.weights import convnext, detectron2, dialects, efficientnet, matterport, torchvision
from wbcjax.weights.dialects import Arrays, Settings
from wbcjax.weights.names import Leaves, Modules, Placed, same


class Source(NamedTuple):
    """The weights of one library and network."""

    name: str
    signs: tuple[str, ...]  # modules, named by `dotted`, which all of these weights have, and no others
    table: Modules
    dotted: Callable[[str], str]
    ignored: Mapping[str, str]  # patterns of names of arrays to leave out, and why
    required: tuple[str, ...]  # parts of our model that these weights fill; they fill others whole or not at all
    heads: tuple[str, ...]  # modules of ours that depend on the classes
    fields: tuple[str, ...]  # settings with which the weights must be used
    dialect: Callable[[Mapping[str, Placed], Arrays], Settings]  # the settings that they were trained with
    also: Mapping[str, tuple[Any, ...]]  # further values of a field, where the weights do not tell
    of_backbone: "Source | None" = (
        None  # the same weights for the backbone of a detector, where they are a classifier's
    )
    prefix: str = ""  # before these names in a file: that of a wrapper, or of a network that this one is a part of

    def into(self, settings: Settings) -> "Source":
        """The source as the model of `settings` takes it: a detector takes a classifier's weights for its backbone."""
        if self.of_backbone is None or not isinstance(settings, MaskRCNNSettings):
            return self
        return self.of_backbone._replace(prefix=self.prefix)


def recognise(arrays: Arrays) -> Source:
    """The one of `SOURCES` whose arrays have these names; where they share a prefix, with that.

    Raises ValueError for none of them, listing what can be read, and for arrays of several networks.
    """
    found = [source for source in SOURCES if _signed(arrays, source)] or _prefixed(arrays)
    if len(found) > 1 and all(source.prefix for source in found):
        places = ", ".join(repr(source.prefix) for source in found)
        raise ValueError(f"the names of {len(found)} networks, behind {places}: save the weights of one of them alone")
    if len(found) != 1:
        names = ", ".join(list(arrays)[:5]) + (", ..." if len(arrays) > 5 else "")
        kinds = "\n  ".join(source.name for source in SOURCES)
        raise ValueError(f"no weights that are known here: {len(arrays)} arrays, {names}. What is read:\n  {kinds}")
    return found[0]


def unprefixed(arrays: Arrays, source: Source) -> dict[str, np.ndarray]:
    """The arrays with the prefix of `source`, by their names without it."""
    start = source.prefix
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def dialect_of(source: Source, placed: Mapping[str, Placed], arrays: Arrays) -> Settings:
    """The settings that weights of `source` were trained with, as far as their forward pass goes.

    `placed` are the arrays as `names.place` puts them. Raises ValueError for a network of unknown depth.
    """
    try:
        return source.dialect(placed, arrays)
    except ValueError as error:
        raise ValueError(f"weights of {source.name}: {error}") from error


def needed(source: Source, dialect: Settings, parts: set[str]) -> dict[str, tuple[Any, ...]]:
    """Fields of `config.model` for weights of the given parts of a model, and the values each may have, first best."""
    needs: dict[str, tuple[Any, ...]] = {}
    if isinstance(dialect, MaskRCNNSettings):
        values = as_values(dialect)
        needs |= {f"{part}.part": (values[part]["part"],) for part in _PARTS if part in parts}
    of_backbone = dialect.backbone.WEIGHTS_NEED if isinstance(dialect, MaskRCNNSettings) else ()
    for field in (*(f"backbone.{name}" for name in of_backbone), *source.fields):
        part = "box_head" if field in _OF_BOXES else field.partition(".")[0]
        value = setting(dialect, field)
        if value is None or (field.endswith("norm_epsilon") and setting(dialect, f"{part}.norm") == "none"):
            continue
        if part in parts or part == field:
            needs[field] = tuple(dict.fromkeys((value, *source.also.get(field, ()))))
    for field, kinds in _NORMS.items():  # these norms store the same arrays
        if needs.get(field, ("",))[0] in kinds:
            needs[field] = tuple(dict.fromkeys((*needs[field], *kinds)))
    return needs


def setting(settings: Settings, field: str) -> Any:
    """The value of a field such as `backbone.same_pool`; None where the part has no such field."""
    if field.endswith(".part"):
        return as_values(settings)[field.removesuffix(".part")]["part"]
    return functools.reduce(lambda part, name: getattr(part, name, None), field.split("."), settings)


_PARTS = ("backbone", "fpn", "rpn", "box_head", "mask_head")
# Kinds of batch normalisation, which store the same.
_NORMS = {"backbone.norm": (*FROZEN, "bn"), "box_head.norm": FROZEN, "mask_head.norm": FROZEN}


def _signed(arrays: Arrays, source: Source) -> bool:
    modules = {source.dotted(name).rpartition(".")[0] for name in arrays}
    return modules.issuperset(source.signs)


def _prefixed(arrays: Arrays) -> list[Source]:
    """Sources whose names have a prefix, such as `module.` or `model.backbone.`, none within another's.

    DistributedDataParallel, `torch.compile`, Lightning and others put one before all names. A network for another task,
    such as self-supervised learning, has the names of a ResNet after `encoder.`, and others beside them.
    """
    modules = {name.rpartition(".")[0] for name in arrays}
    found = [
        source._replace(prefix=module.removesuffix(source.signs[0]))
        for source in SOURCES
        if source.dotted is str  # the others find a layer within any model
        for module in sorted(modules)
        if module.endswith(f".{source.signs[0]}")
    ]
    found = [source for source in found if modules.issuperset(source.prefix + sign for sign in source.signs)]
    return [
        source
        for source in found
        if not any(source.prefix != other.prefix and source.prefix.startswith(other.prefix) for other in found)
    ]


_COUNTERS = {r".*num_batches_tracked": "counts batches of training"}
_TOP = "is above the last block, where a detector's features end"
_CLASSES = "names whole images, which a detector does not"
_BACKBONE_FIELDS = ("pixel_mean", "pixel_std")  # and those that the backbone names itself
_OF_BOXES = ("black_padding", "normalized_boxes", "roi.convention", "roi.box_weights")
_DETECTOR_FIELDS = (
    *_BACKBONE_FIELDS,
    *_OF_BOXES,
    "fpn.channels",
    "rpn.channels",
    "rpn.aspect_ratios",
    "rpn.softmax",
    "rpn.box_weights",
    "box_head.bins",
    "box_head.channels",
    "box_head.norm",
    "box_head.norm_epsilon",
    "box_head.class_agnostic",
    "mask_head.channels",
    "mask_head.norm",
    "mask_head.norm_epsilon",
    "mask_head.class_agnostic",
)
_EFFICIENTNET_FIELDS = (
    "width",
    "depth",
    "norm_epsilon",
    "same_padding",
    "pixel_mean",
    "pixel_std",
    "stored_normalization",
)
_DETECTOR_PARTS = ("backbone", "fpn", "rpn", "box_head")
_DETECTOR_HEADS = ("box_head/class_logits", "box_head/box_deltas", "mask_head/logits")
# Layers of our heads that may have outputs for each class; the first gives the number of classes.
_CLASS_LAYERS = ("class_logits", "box_deltas", "logits")

SOURCES = (
    Source(
        name="torchvision's Mask R-CNN or Faster R-CNN, ResNet and FPN (v1)",
        signs=("backbone.body.conv1", "rpn.head.cls_logits", "roi_heads.box_head.fc6"),
        table=torchvision.R_CNN,
        dotted=str,
        ignored=_COUNTERS,
        required=_DETECTOR_PARTS,
        heads=_DETECTOR_HEADS,
        fields=_DETECTOR_FIELDS,
        dialect=dialects.torchvision,
        also={"backbone.norm_epsilon": (0.0,)},
    ),
    Source(
        name="torchvision's ResNet-18, 34, 50 or 101 for classification",
        signs=("conv1", "bn1", "layer1.0.conv1", "layer4.1.conv2"),
        table=torchvision.RESNET,
        dotted=str,
        ignored=_COUNTERS | {r"fc\.(weight|bias)": _CLASSES},
        required=("backbone",),
        heads=(),
        fields=_BACKBONE_FIELDS,
        dialect=dialects.resnet,
        also={},
    ),
    Source(
        name="detectron2's Mask R-CNN or Faster R-CNN, R50-FPN or R101-FPN of the model zoo",
        signs=("backbone.bottom_up.stem.conv1", "backbone.fpn_lateral5", "roi_heads.box_head.fc1"),
        table=detectron2.R_CNN,
        dotted=str,
        ignored=_COUNTERS
        | {
            r"proposal_generator\.anchor_generator\.cell_anchors\.\d": "anchors are made from config.model.rpn",
            r"pixel_(mean|std)": "pixels are treated as config.model says",
        },
        required=_DETECTOR_PARTS,
        heads=_DETECTOR_HEADS,
        fields=_DETECTOR_FIELDS,
        dialect=dialects.detectron2,
        also={},
    ),
    Source(
        name="Matterport's Mask R-CNN, ResNet-50 or 101",
        signs=("bn_conv1", "fpn_c5p5", "rpn_conv_shared", "mrcnn_class_conv1"),
        table=matterport.MASK_R_CNN,
        dotted=matterport.layer_name,
        ignored={r"(?:.*/)?anchors(?:/.*)?": "anchors are made from config.model.rpn"},
        required=(*_DETECTOR_PARTS, "mask_head"),
        heads=_DETECTOR_HEADS,
        fields=_DETECTOR_FIELDS,
        dialect=dialects.matterport,
        also={},
    ),
    Source(
        name="torchvision's ConvNeXt for classification",
        signs=("features.0.0", "features.1.0.block.0", "features.1.0.block.5", "features.7.0.block.5"),
        table=convnext.TORCHVISION,
        dotted=str,
        ignored={r"classifier\..*": _CLASSES},
        required=("backbone",),
        heads=(),
        fields=_BACKBONE_FIELDS,
        dialect=dialects.convnext,
        also={},
    ),
    Source(
        name="torchvision's EfficientNet-B0 to B7",
        signs=("features.0.0", "features.1.0.block.1.fc1", "features.8.0"),
        table=efficientnet.TORCHVISION,
        dotted=str,
        ignored=_COUNTERS,
        required=("base",),
        heads=("head/logits",),
        fields=_EFFICIENTNET_FIELDS,
        dialect=functools.partial(dialects.efficientnet, EFFICIENTNET_TORCHVISION),
        also={},
        of_backbone=Source(
            name="torchvision's EfficientNet-B0 to B7",
            signs=(),
            table=efficientnet.of_backbone(efficientnet.TORCHVISION),
            dotted=str,
            ignored=_COUNTERS | {r"features\.8\..*": _TOP, r"classifier\..*": _CLASSES},
            required=("backbone",),
            heads=(),
            fields=_BACKBONE_FIELDS,
            dialect=dialects.efficientnet_of_torchvision,
            also={},
        ),
    ),
    Source(
        name="Keras's EfficientNetB0 to B7",
        signs=("stem_conv", "block1_0_dwconv", "block1_0_se_reduce", "top_conv"),
        table=efficientnet.KERAS,
        dotted=efficientnet.numbered,
        ignored={},
        required=("base",),
        heads=("head/logits",),
        fields=_EFFICIENTNET_FIELDS,
        dialect=functools.partial(dialects.efficientnet, EFFICIENTNET_KERAS),
        also={},
        of_backbone=Source(
            name="Keras's EfficientNetB0 to B7",
            signs=(),
            table=efficientnet.of_backbone(efficientnet.KERAS),
            dotted=efficientnet.numbered,
            ignored={
                r"(?:.*/)?normalization(?:_\d+)?/.*": "pixels are normalised as config.model says",
                r"(?:.*/)?top_(?:conv|bn)/.*": _TOP,
                r"(?:.*/)?(?:predictions|dense(?:_\d+)?)/.*": _CLASSES,
            },
            required=("backbone",),
            heads=(),
            fields=_BACKBONE_FIELDS,
            dialect=dialects.efficientnet_of_keras,
            also={},
        ),
    ),
)


def ours(trained_with: Settings, arrays: Arrays) -> Source:
    """Variables of a model of this package, named by their paths, which do not imply its settings."""
    leaves: Leaves = {leaf: (leaf, same) for leaf in (path.rpartition("/")[2] for path in arrays)}
    of_detector = isinstance(trained_with, MaskRCNNSettings)
    modules = sorted({path.partition("/")[2].rpartition("/")[0] for path in arrays})
    return Source(
        name="a Mask R-CNN of this package" if of_detector else "an EfficientNet of this package",
        signs=(),
        table=((r"[^/]+(?:/(.+))?", r"\1", leaves),),  # the first name is the collection's
        dotted=lambda path: ".".join(path.rsplit("/", 1)),
        ignored={},
        required=("backbone",) if of_detector else ("base",),
        heads=tuple(module for name in _CLASS_LAYERS for module in modules if module.rpartition("/")[2] == name),
        fields=_DETECTOR_FIELDS if of_detector else _EFFICIENTNET_FIELDS,
        dialect=lambda placed, arrays: trained_with,
        also={},
    )
