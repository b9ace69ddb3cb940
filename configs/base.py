"""What all experiments have in common; each file overrides what differs. Not an experiment itself.

`config.model` is a whole dialect (wbcjax/models/settings.py), so that any of its fields can be overridden from the
command line: `--config.model.fpn.channels=128`.
"""

import dataclasses

from ml_collections import ConfigDict

from wbcjax.models.settings import EFFICIENTNET_KERAS, TORCHVISION, EfficientNetSettings, MaskRCNNSettings


def mask_rcnn(dialect: MaskRCNNSettings = TORCHVISION) -> ConfigDict:
    """A Mask R-CNN of `dialect`, with an empty data set and a plain training schedule."""
    config = ConfigDict()
    config.task = "detection"
    config.seed = 0
    config.init_from = ""  # weights to start from: a file of another library's or ours, or the folder of a run
    config.init_parts = ()  # of these: ("backbone", "fpn"), say; empty: all that fit the classes

    dataset = config.dataset = ConfigDict()
    dataset.name = "via"  # "via" | "coco" | "labelme" | "label_images" | "mask_folders" | "voc" | "synthetic"
    dataset.annotations = ""  # file (VIA, COCO) or folder
    dataset.images = ""  # folder
    dataset.max_pixels = 2**29  # of an image: a larger one is refused before it is decoded
    dataset.on_error = "raise"  # "skip" leaves out fields and cells with problems, and says so whenever the set is used
    dataset.classes = ("cell",)  # class 1, 2, ...; class 0 is the background
    dataset.class_attribute = "cell"  # VIA: region_attributes.cell holds the class
    # Pairs (annotated value, class); class "" leaves such cells out; empty: values are the classes' names. Label images
    # and mask folders name every cell "cell"; with one class and no pairs, that is their class.
    dataset.class_of = ()
    # VIA: the file attribute, COCO: the key of an image's entry, whose value (a patient, say) the split must not divide
    dataset.group_attribute = None
    dataset.enhance = "none"  # contrast: "eff" | "eff_minmax" | "he" | "dhe" | "clahe"; of images predicted on, too
    dataset.synthetic = ConfigDict({"count": 0, "seed": 0, "subtypes": ()})  # and any field of SyntheticSmear
    dataset.split = _split(train_fraction=0.75)
    dataset.pixel_size = 0.0  # micrometres per pixel of the images, for measures of cells; 0: not known
    dataset.canvas = (512, 512)  # height, width in pixels; multiples of 32
    dataset.max_cells = 64  # in one field; more cells need more places in the model, too: wbcjax/models/limits.py

    config.augment = _augment()
    config.evaluate = ConfigDict({"score_threshold": 0.5})  # of the papers' mAP, and what is drawn

    config.model = ConfigDict(dataclasses.asdict(dialect))

    config.train = _train()
    return config


def classifier(dialect: EfficientNetSettings = EFFICIENTNET_KERAS["b3"]) -> ConfigDict:
    """An EfficientNet of `dialect` on crops of cells, with an empty data set and a plain training schedule."""
    config = ConfigDict()
    config.task = "classification"
    config.seed = 0
    config.init_from = ""  # weights to start from: a file of another library's or ours, or the folder of a run
    config.init_parts = ()  # of these: ("backbone", "fpn"), say; empty: all that fit the classes

    dataset = config.dataset = ConfigDict()
    dataset.name = "crops"
    dataset.crops = ""  # folder of class folders, as `wbcjax crop` writes; crops of one group are never divided
    dataset.max_pixels = 2**29  # of a crop's file: a larger one is refused before it is decoded
    dataset.val_crops = ""  # another such folder to validate on; empty: a split of the first one
    dataset.test_crops = ""  # another one to test on, which neither trains nor chooses the checkpoint
    dataset.classes = ()  # the folders' names; class 0, 1, ...
    dataset.balance = False  # draw every class equally often in training
    dataset.enhance = "none"  # contrast: "eff" | "eff_minmax" | "he" | "dhe" | "clahe"; of crops predicted on, too
    dataset.split = _split(train_fraction=0.8)
    dataset.canvas = (300, 300)  # height, width in pixels, that crops are drawn on

    config.augment = _augment()
    # Beta's parameter of the share of a second crop that a training crop is mixed with, 0: none. With both, by turns.
    config.mix = ConfigDict({"mixup": 0.0, "cutmix": 0.0})
    config.loss = ConfigDict({"label_smoothing": 0.0})
    config.evaluate = ConfigDict({"bootstrap": 1000})  # resamplings that intervals come from

    config.model = ConfigDict(dataclasses.asdict(dialect))
    config.train = _train()
    return config


def small(config: ConfigDict) -> None:
    """A ResNet-18 Mask R-CNN for a CPU: fewer levels, channels, proposals and RoIs than the paper's.

    It has places for about ten cells of a field; for more of them raise its limits as `wbcjax inspect` proposes.
    """
    model = config.model
    model.backbone.depth = 18
    model.fpn.channels = 128
    model.rpn.channels = 128
    model.rpn.levels = (3, 4, 5)  # whose anchor sizes the experiment gives
    model.rpn.before_nms_train = 200
    model.rpn.before_nms_test = 200
    model.rpn.proposals_train = 200
    model.rpn.proposals_test = 100
    model.roi.samples = 48
    model.box_head.channels = 512
    model.mask_head.channels = 128
    model.detection.per_image = 32
    model.detection.candidates = 200


def from_scratch(config: ConfigDict) -> None:
    """Training without pretrained weights, on a few hundred fields: trained norms, AdamW, and averaged weights."""
    config.model.backbone.norm = "bn"
    config.model.roi.convention = "aligned"
    config.train.batch_size = 4
    config.train.optimizer = "adamw"
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.05
    config.train.clip_norm = 1.0
    config.train.warmup_steps = 100
    config.train.schedule = "cosine"
    config.train.ema_decay = 0.998


def _split(train_fraction: float) -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            # Tested on, and neither trained on nor looked at when the best checkpoint is chosen; 0: no such part
            "test_fraction": 0.0,
            "train_fraction": train_fraction,  # of what does not test; the rest validates
            "train_names": (),  # or lists of fields; ("some.txt",) stands for the lines of that file
            "val_names": (),
            "test_names": (),
        }
    )


def _augment() -> ConfigDict:
    return ConfigDict(
        {
            "flip_horizontal": True,
            "flip_vertical": True,
            "rotate": False,  # by right angles
            "scale": (1.0, 1.0),  # relative to the field fitted to the canvas
            "shift": False,  # crop what is larger than the canvas anywhere, not at its centre
            "brightness": 0.0,  # largest relative changes
            "contrast": 0.0,
            "saturation": 0.0,
            "hue": 0.0,  # largest turn in degrees
        }
    )


def _train() -> ConfigDict:
    return ConfigDict(
        {
            "batch_size": 2,  # over all devices
            "accumulate": 1,  # parts in which each device sees its share, where all of it at once needs too much memory
            "epochs": 0.0,  # the length of the run: epochs, or steps, or the phases' epochs together
            "steps": 0,
            "max_minutes": 0.0,  # stop after so much time, 0: never
            "phases": (),  # {"layers": "heads" | "3+" | "4+" | "5+" | "all" | regex, "epochs", "learning_rate_scale"}
            "optimizer": "sgd",  # or "adamw"
            "learning_rate": 0.001,
            "learning_rate_batch": 0,  # the batch size that the rate is meant for: others scale it; 0: it is as given
            "momentum": 0.9,
            "adam_epsilon": 1e-8,  # torch's; Keras's is 1e-7
            "weight_decay": 1e-4,  # not of norms and biases
            "l2_per_array": False,  # True: Matterport's decay, of biases too and divided by the size of each array
            "clip_norm": 0.0,  # of all gradients together, 0: off
            "warmup_steps": 0,
            "schedule": "step",  # or "cosine"
            "boundaries": (),  # epochs after which the learning rate is multiplied by gamma
            "gamma": 0.1,
            "ema_decay": 0.0,  # predict with an exponential average of the weights, 0: off
            "loss_weights": {},  # 1 where not given; --config.train.loss_weights.mask=2, for one
            "log_every": 10,  # steps
            "eval_every_epochs": 1.0,  # 0: only at the end
            "max_skipped_in_a_row": 10,  # steps whose loss or gradient is not finite; then the run stops
            "checkpoint_minutes": 10.0,  # saved so often between evaluations too, 0: only at evaluations
            "parallel": "shard_map",  # or "pmap"
        }
    )
