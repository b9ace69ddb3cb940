"""Configs that no run could use, given to every program that takes one: refused in a line, before anything is built."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.system import heap, runtime
from wbcjax.tasks import choose as tasks

ROOT = Path(__file__).parents[2]
PROGRAMS = ("train", "plan", "contrast")
DEMO, CROPS = "configs/smear_demo.py", "configs/myeloma_efficientnet_b3.py"

# Arguments after --config=configs/smear_demo.py, and what must be told of them: key, value, remedy.
VALUES = [
    # wrong in themselves
    ("--config.train.batch_size=-1", "config.train.batch_size is -1: give a whole number of at least 0"),
    ("--config.train.batch_size=2.5", "config.train.batch_size is 2.5: give a whole number of at least 0"),
    ("--config.train.batch_size=True", "config.train.batch_size is True: give a whole number"),
    ("--config.train.batch_size=many", "config.train.batch_size is 'many': give a whole number"),
    ("--config.train.batch_size=", "config.train.batch_size is '': give a whole number"),
    (
        "--config.train.optimizer=sgd",
        "is a part: name its class, as --config.train.optimizer.part=sgd",
    ),
    ("--config.train.optimizer.part=adam", "config.train.optimizer.part is 'adam': did you mean 'adamw'?"),
    ("--config.train.optimizer.part=optax:lyon", "is 'optax:lyon': optax has no lyon: did you mean lion?"),
    ("--config.train.optimizer.part=optax:lbfgs", "config.train.optimizer cannot be used (TypeError: "),
    ("--config.train.optimizer.eps=-1", "config.train.optimizer.eps is -1.0: give a number of at least 0"),
    (
        "--config.train.optimizer.momentum=0.9",
        "is unknown. adamw has: part, b1, b2, eps",
    ),
    ("--config.train.optimizer.weight_decay=1", "config.train.optimizer.weight_decay is "),
    (
        "--config.train.rules=({'paths':'neck/'},)",
        "config.train.rules[0].paths is 'neck/', which matches no we",
    ),
    (
        "--config.train.rules=({'paths':'fpn/'},{'paths':'fpn'})",
        "config.train.rules[1].paths is 'fpn', which m",
    ),
    ("--config.train.rules=({'paths':'['},)", "config.train.rules[0].paths is '[', no regular expression"),
    (
        "--config.train.rules=({'paths':'fpn','learning_rate':-1},)",
        "config.train.rules[0].learning_rate is -1: give",
    ),
    ("--config.train.parallel=pjit", "config.train.parallel is 'pjit': give one of 'shard_map', 'pmap'"),
    ("--config.seed=-1", "config.seed is -1: give a whole number from 0 to 4294967295"),
    ("--config.seed=4294967296", "config.seed is 4294967296: give a whole number from 0 to 4294967295"),
    ("--config.train.learning_rate=nan", "config.train.learning_rate is nan: give a number of at least 0"),
    ("--config.train.learning_rate=inf", "config.train.learning_rate is inf: give a number of at least 0"),
    ("--config.train.learning_rate=-0.1", "config.train.learning_rate is -0.1: give a number of at least 0"),
    ("--config.train.optimizer.b1=1", "config.train.optimizer.b1 is 1.0: give a number of at least 0 and below 1"),
    ("--config.train.gamma=0", "config.train.gamma is 0.0: give a number above 0"),
    ("--config.train.steps=-3", "config.train.steps is -3: give a whole number from 0 to 2147483647"),
    ("--config.train.steps=2147483648", "config.train.steps is 2147483648: give a whole number from 0 to 2147483647"),
    ("--config.train.warmup_steps=10000000000", "config.train.warmup_steps is 10000000000: give a whole number from 0"),
    ("--config.train.log_every=0", "config.train.log_every is 0: give a whole number of at least 1"),
    ("--config.train.max_minutes=nan", "config.train.max_minutes is nan"),
    ("--config.train.boundaries=3", "config.train.boundaries is 3: give a tuple, such as (1.0,)"),
    ("--config.train.boundaries=(3,3)", "config.train.boundaries is (3, 3): give each epoch once"),
    ("--config.augment.scale=2", "config.augment.scale is 2: give a tuple of 2, each a number"),
    ("--config.augment.scale=(1,2,3)", "config.augment.scale is (1, 2, 3): give a tuple of 2"),
    ("--config.augment.scale=(2,1)", "config.augment.scale is (2, 1); give (lowest, highest)"),
    ("--config.augment.brightness=2", "config.augment.brightness is 2.0; give a number from 0 to 1"),
    ("--config.augment.turn=181", "config.augment.turn is 181.0; give a number from 0 to 180"),
    (
        "--config.augment.elastic.strength=40",
        "config.augment.elastic.strength is 40.0; give at most 0.48 of",
    ),
    ("--config.augment.paste.cells=-1", "config.augment.paste.cells is -1: give a whole number of at least 0"),
    ("--config.augment.rotate=often", "config.augment.rotate is 'often': give True or False"),
    ("--config.evaluate.score_threshold=5", "config.evaluate.score_threshold is 5.0: give a number from 0 to 1"),
    ("--config.model.detection.score_threshold=5", "config.model.detection.score_threshold is 5.0"),
    ("--config.model.detection.nms_iou=5", "config.model.detection.nms_iou is 5.0: give a number from 0 to 1"),
    (
        "--config.model.detection.per_image=0",
        "config.model.detection.per_image is 0: give a whole number",
    ),
    ("--config.model.rpn.nms_iou=-0.1", "config.model.rpn.nms_iou is -0.1"),
    ("--config.model.rpn.box_weights=(1,1,0,1)", "config.model.rpn.box_weights[2] is 0: give a number above 0"),
    ("--config.model.rpn.aspect_ratios=()", "config.model.rpn.aspect_ratios is (): give a tuple, not empty"),
    ("--config.model.rpn.levels=(3,4,9)", "config.model.rpn.levels[2] is 9: give one of 2, 3, 4, 5, 6"),
    ("--config.model.box_head.channels=-5", "config.model.box_head.channels is -5: give a whole number of at least 1"),
    ("--config.model.roi.samples=0", "config.model.roi.samples is 0: give a whole number of at least 1"),
    ("--config.model.roi.convention=align", "config.model.roi.convention is 'align': give one of 'aligned', 'legacy'"),
    ("--config.model.backbone.depth=19", "config.model.backbone.depth is 19: give one of 18, 34, 50, 101"),
    ("--config.model.dtype=float16", "config.model.dtype is 'float16': give one of 'float32', 'bfloat16'"),
    ("--config.model.pixel_std=(1,0,1)", "config.model.pixel_std[1] is 0: give a number above 0"),
    ("--config.dataset.name=viaa", "config.dataset.name is 'viaa': give one of 'synthetic', 'via'"),
    ("--config.dataset.enhance=eef", "config.dataset.enhance is 'eef': give one of 'none', 'he'"),
    ("--config.dataset.on_error=ignore", "config.dataset.on_error is 'ignore': give one of 'raise', 'skip'"),
    (
        "--config.dataset.canvas=512",
        "config.dataset.canvas is 512: give a tuple of 2, each a whole number of at least 1",
    ),
    ("--config.dataset.canvas=(192,-256)", "config.dataset.canvas[1] is -256: give a whole number of at least 1"),
    ("--config.dataset.classes=L1", "config.dataset.classes is 'L1': give a tuple, not empty, such as (\"a\",)"),
    ("--config.dataset.classes=()", "config.dataset.classes is (): give a tuple, not empty"),
    ("--config.dataset.classes=('L1','L2','')", "config.dataset.classes[2] is '': give a text, not empty"),
    ("--config.dataset.class_of=(('a',),)", "config.dataset.class_of[0] is ('a',): give a tuple of 2"),
    ("--config.dataset.max_cells=0", "config.dataset.max_cells is 0: give a whole number of at least 1"),
    ("--config.dataset.pixel_size=-1", "config.dataset.pixel_size is -1.0: give a number of at least 0"),
    ("--config.dataset.split.train_fraction=1.5", "config.dataset.split.train_fraction is 1.5: give a number from 0"),
    ("--config.dataset.split.train_names=a.png", "config.dataset.split.train_names is 'a.png': give a tuple, such as"),
    ("--config.dataset.synthetic.count=-3", "config.dataset.synthetic.count is -3: give a whole number of at least 0"),
    (
        "--config.dataset.synthetic.cells=(5,2)",
        "config.dataset.synthetic: SyntheticSmear: cells = (5, 2): expected (low, high)",
    ),
    ("--config.dataset.synthetic.cells=3", "config.dataset.synthetic.cells is 3: give a tuple of 2, each a whole"),
    ("--config.train.loss_weights.mask=-1", "config.train.loss_weights.mask is -1.0: give a number of at least 0"),
    ("--config.init_parts=('neck',)", "config.init_parts[0] is 'neck': give one of 'backbone', 'fpn', 'rpn'"),
    ("--config.task=segmentation", "config.task is 'segmentation': give one of 'detection', 'classification'"),
    ("--config.train.phases=heads", "config.train.phases is 'heads': give a tuple"),
    ("--config.train.phases=({'layers':'all'},)", "config.train.phases[0].epochs is missing"),
    ("--config.train.phases=({'layers':'all','epochs':0},)", "config.train.phases[0].epochs is 0: give a number above"),
    # contradictions
    ("--config.train.epochs=0", "config.train.steps and epochs are 0, and there are no phases"),
    ("--config.train.phases=({'layers':'all','epochs':1},)", "config.train.epochs is 6, and config.train.phases end"),
    ("--config.train.phases=({'layers':'[','epochs':9},)", "config.train.phases[0].layers is '[', no regular expr"),
    ("--config.train.phases=({'layers':'neck/','epochs':9},)", "config.train.phases[0]: layers 'neck/' of config.tr"),
    ("--config.train.accumulate=3", "config.train.accumulate is 3 and batch_size 4: give an accumulate that divides"),
    ("--config.train.batch_size_per_device=3", "batch_size is 4, and batch_size_per_device 3: set one of them to 0"),
    ("--config.train.batch_size=0", "config.train.batch_size and batch_size_per_device are 0: set one of them to a"),
    ("--config.train.loss_weights.msk=2", "config.train.loss_weights.msk is unknown: the losses are rpn_objectness"),
    ("--config.model.rpn.anchor_sizes=(24.0,40.0)", "config.model.rpn.anchor_sizes is (24.0, 40.0) and config.model"),
    ("--config.model.rpn.levels=(3,4)", "config.model.rpn.levels is (3, 4): give one size for each level, 2 in all"),
    ("--config.model.rpn.levels=(5,4,3)", "config.model.rpn.levels is (5, 4, 3): give each level once, the lowest"),
    ("--config.model.rpn.levels=(3,3,4)", "config.model.rpn.levels is (3, 3, 4): give each level once"),
    ("--config.model.roi.levels=(2,4)", "config.model.roi.levels is (2, 4): give levels that follow each other"),
    ("--config.model.rpn.negative_iou=0.8", "config.model.rpn.negative_iou is 0.8 and positive_iou 0.7"),
    ("--config.model.roi.positive_fraction=0.01", "config.model.roi.samples is 48 and positive_fraction 0.01"),
    ("--config.dataset.canvas=(192,250)", "config.dataset.canvas is (192, 250): give (height, width) in multiples of"),
    ("--config.dataset.classes=('L1','L2','L1')", "'L1' is there 2 times; name each class once"),
    ("--config.dataset.classes=('L1','L2')", "dataset.classes is ('L1', 'L2'); these synthetic fields have"),
    ("--config.dataset.synthetic.count=1", "config.dataset.synthetic.count is 1: give the number of fields to draw"),
    ("--config.dataset.synthetic.subtypes=(1,2,3)", "config.dataset.synthetic.subtypes is (1, 2, 3) and count 300"),
    ("--config.dataset.split.train_fraction=0", "config.dataset.split.train_fraction is 0, which leaves nothing to t"),
    ("--config.dataset.split.train_fraction=1", "config.dataset.split.train_fraction is 1, which leaves nothing to v"),
    ("--config.dataset.split.val_names=('no.txt',)", "no.txt: No such file or directory; correct the path"),
    ("--config.dataset.split.test_fraction=1", "config.dataset.split.test_fraction is 1, which leaves nothing to tra"),
    ("--config.dataset.split.val_names=('a','a')", "config.dataset.split.val_names: 'a' is listed 2 times"),
    # keys
    ("--config.train.bath_size=3", "config.train.bath_size is unknown: did you mean config.train.batch_size?"),
    ("--config.batch_size=3", "config.batch_size is unknown: did you mean config.train.batch_size?"),
    ("--config.trian.steps=3", "config.trian.steps is unknown: did you mean config.train.steps?"),
    ("--config.model.rpn.qqq=3", "config.model.rpn.qqq is unknown"),
    ("--config.train=3", "config.train is a group of settings: set one of it, as --config.train.NAME=VALUE"),
    ("--config.train.steps", "config.train.steps is given no value: give --config.train.steps=VALUE"),
    ("--config.train.steps.a=3", "config.train.steps.a is unknown"),
    ("--noconfig.train.steps", "config.train.steps is given no value: give"),
    ("config.train.steps=1", "unrecognized arguments: config.train.steps=1"),
    ("train", "unrecognized arguments: train"),
]
CHANGED = """from wbcjax.configs import base
def get_config():
    config = base.mask_rcnn()
    {}
    return config
"""
# More arguments at once; on files; of a classifier.
COMBINED = [
    (
        [DEMO, "--config.dataset.name=voc", "--config.dataset.group_attribute=patient"],
        "config.dataset.group_attribute is 'patient', which is for via and coco files",
    ),
    (
        [DEMO, "--config.dataset.name=via", "--config.dataset.class_of=(('a','L9'),)"],
        "config.dataset.class_of maps to ['L9'], not in dataset.classes ('L1', 'L2', 'L3')",
    ),
    (
        [DEMO, "--config.dataset.split.val_names=('a',)", "--config.dataset.split.train_names=('a','b')"],
        "config.dataset.split: 'a' is in both train_names and val_names",
    ),
    (
        [DEMO, "--config.dataset.split.val_names=('a',)", "--config.dataset.split.test_names=('a','b')"],
        "config.dataset.split: 'a' is in both val_names and test_names",
    ),
    (
        [DEMO, "--config.dataset.split.val_names=('a',)", "--config.dataset.split.test_fraction=0.2"],
        "config.dataset.split.test_fraction is 0.2, and there are lists of names: list those of test too",
    ),
    ([DEMO, "--config.dataset.split.folds=1"], "config.dataset.split.folds is 1 and fold 0: give 2 folds or more"),
    (
        [DEMO, "--config.dataset.split.folds=3", "--config.dataset.split.test_fraction=0.2"],
        "config.dataset.split.folds is 3, and there is a test_fraction or a list of names: leave out one or the other",
    ),
    (
        [CROPS, "--config.dataset.test_crops=data/t", "--config.dataset.split.folds=3"],
        "config.dataset.test_crops is 'data/t', and dataset.split takes crops to test on too",
    ),
    (
        [CROPS, "--config.dataset.test_crops=data/t", "--config.dataset.split.test_fraction=0.2"],
        "config.dataset.test_crops is 'data/t', and dataset.split takes crops to test on too",
    ),
    (
        [CROPS, "--config.dataset.val_crops=data/v", "--config.dataset.split.train_names=('a',)"],
        "config.dataset.val_crops is 'data/v', so that nothing is split, and dataset.split lists names",
    ),
    (
        [DEMO, "--config.model.backbone.norm=gn", "--config.model.backbone.width=24"],
        "config.model.backbone.width is 24: give a multiple of 32",
    ),
    (
        [CROPS, "--config.loss.label_smoothing=1"],
        "config.loss.label_smoothing is 1.0: give a number of at least 0 and",
    ),
    ([CROPS, "--config.mix.mixup=-1"], "config.mix.mixup is -1.0; give a number above 0"),
    (
        [CROPS, "--config.augment.paste.cells=3"],
        "config.augment.paste.cells is 3: cells are pasted into fields, and a crop shows one: give 0",
    ),
    ([CROPS, "--config.evaluate.bootstrap=-1"], "config.evaluate.bootstrap is -1: give a whole number of at least 0"),
    ([CROPS, "--config.model.dropout=1"], "config.model.dropout is 1.0: give a number of at least 0 and below 1"),
    ([CROPS, "--config.model.width=0"], "config.model.width is 0.0: give a number above 0"),
    ([CROPS, "--config.dataset.classes=('a',)"], "config.dataset.classes is ('a',): give the names of two class fol"),
    ([CROPS, "--config.train.loss_weights.mask=2"], "config.train.loss_weights.mask is unknown: the losses are class"),
    (["nope.py"], "nope.py does not exist: give a config file, or one of all_mask_rcnn, "),
    (["configs/smear_demoo.py"], "configs/smear_demoo.py does not exist: did you mean smear_demo?"),
    (["configs"], "configs is a folder: give a file in it"),
    (["configs/base.py"], "the file has no function get_config"),
    (["configs/segpc_nucleus.py:a"], "there are no variants of this config: give --config=configs/segpc_nucleus.py"),
    (["configs/all_mask_rcnn.py:foo"], "all_mask_rcnn:foo is unknown; choose one of coco, scratch"),
]


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys) -> Callable[..., str]:
    """The message for a command line that a program does not accept; nothing is built or written."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    for module, name in ((heap, "tune_malloc"), (runtime, "quiet_libraries"), (runtime, "use_compilation_cache")):
        monkeypatch.setattr(module, name, lambda: None)  # settings of the whole process

    def run(program: str, config: str, *arguments: str) -> str:
        workdir = f"--workdir={tmp_path / 'run'}"
        start = {
            "train": ["train", f"--config={config}", workdir],
            "plan": ["plan", "--config", config],
            "contrast": ["experiment", "contrast", f"--config={config}", workdir],
        }[program]
        with pytest.raises(SystemExit) as stop:
            cli.main([*start, *arguments])
        assert stop.value.code not in (None, 0)
        assert list(tmp_path.iterdir()) == [], "neither a workdir nor a data set"
        printed = capsys.readouterr()
        assert printed.out == ""
        return f"{stop.value.code}\n{printed.err}"

    return run


# All programs check configs by one function.
@pytest.mark.parametrize(
    "program", ["train", *(pytest.param(program, marks=pytest.mark.slow) for program in PROGRAMS[1:])]
)
@pytest.mark.parametrize(("argument", "told"), VALUES)
def test_a_value_that_cannot_be_is_refused_by_key_value_and_remedy(refused, program, argument, told):
    said = refused(program, DEMO, argument)
    assert told in said
    if program == "train" and "problems" not in said:
        assert len(said.removeprefix("2\n").splitlines()) == 1


@pytest.mark.parametrize("program", PROGRAMS[:2])
@pytest.mark.parametrize(("arguments", "told"), COMBINED)
def test_a_config_that_cannot_be_is_refused_in_words(refused, program, arguments, told):
    assert told in refused(program, *arguments)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("def get_config(:", "cannot be read: SyntaxError"),
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def get_config():\n    return 1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("def get_config():\n    return {}", "get_config gives dict: let it return a ConfigDict"),
        ("def get_config(variant):\n    pass", "this config has variants only: give one, --config="),
        (CHANGED.format("config.train.steps = 1.5"), "line 4: TypeError"),
        (CHANGED.format("config.train.stepz = 1"), "config.train.stepz is unknown: did you mean config.train.steps?"),
        (CHANGED.format("config.train.optimizer = 'adamw'"), "line 4: TypeError"),
        (CHANGED.format("del config.train"), "config.train is missing"),
        (CHANGED.format("del config.model.roi.samples"), "config.model.roi.samples is missing"),
    ],
)
def test_a_file_that_is_no_config_is_refused_at_its_line(refused, tmp_path_factory, content, told):
    path = tmp_path_factory.mktemp("elsewhere") / "mine.py"
    path.write_text(content)
    for program in PROGRAMS:
        said = refused(program, str(path))
        assert told in said
        assert str(path) in said


def test_all_that_is_wrong_is_told_at_once_a_line_each(refused):
    wrong = ("--config.train.batch_size=-1", "--config.seed=-1", "--config.model.detection.nms_iou=5")
    said = refused("train", DEMO, *wrong).strip().splitlines()
    assert said[0] == f"wbcjax: {DEMO}: 3 problems"
    keys = [line.partition("config.")[2].partition(" ")[0] for line in said[1:]]
    assert keys == ["seed", "train.batch_size", "model.detection.nms_iou"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            [DEMO, "--config.train.batch_size=2"],
            "config.train.batch_size is 2, which 8 devices cannot share evenly: choose a multiple of 8, such as "
            "--config.train.batch_size=8",
        ),
        ([DEMO, "--config.train.accumulate=2"], "in 2 parts (config.train.accumulate): choose a multiple of 16"),
        (
            ["configs/all_mask_rcnn.py"],
            "config.init_from is 'data/mask_rcnn_coco.h5', and there is no such file: fetch it from https://github.com/"
            "matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5, or train without it: the variant `:scratc",
        ),
        (
            [DEMO, "--config.dataset.name=via"],
            "config.dataset.annotations is '': give its place, --config.dataset.annot",
        ),
        ([CROPS, "--config.dataset.crops="], "config.dataset.crops is '': give its place, --config.dataset.crops=PATH"),
        ([DEMO, "--config.init_from=nowhere.pth"], "config.init_from is 'nowhere.pth', and there is no such file: cor"),
        ([DEMO, "--config.init_from=configs"], "config.init_from is 'configs', a folder that is no run"),
        (["configs/all_mask_rcnn.py:scratch"], "config.dataset.annotations is 'data/all/via.json', and there is no su"),
        ([CROPS], "config.dataset.crops is 'data/myeloma/crops', and there is no such file or folder"),
    ],
)
def test_what_this_machine_lacks_is_told_before_the_data_set_is_built(refused, monkeypatch, arguments, told):
    def built(_):
        raise AssertionError("the data set was built")

    monkeypatch.setattr(tasks, "make_task", built)
    assert jax.device_count() == 8
    assert told in refused("train", *arguments)
    if arguments[0] != CROPS:
        assert told in refused("contrast", *arguments)


@pytest.mark.parametrize(
    ("config", "batch"),
    [("configs/all_mask_rcnn.py", 2), ("configs/myeloma_mask_rcnn.py:scratch", 2), (DEMO, 4)],
)
def test_every_mask_rcnn_on_eight_devices_names_a_batch_that_would_do(refused, config, batch):
    for program, devices in (("train", ()), ("plan", ("--devices=8",))):
        said = refused(program, config, *devices)
        assert f"config.train.batch_size is {batch}, which 8 devices cannot share evenly" in said
        assert "--config.train.batch_size=8" in said


def test_an_unknown_flag_names_the_nearest_known_one(refused):
    """An unknown flag gives one line, with the nearest known one."""
    assert refused("train", DEMO, "--workdri=x").splitlines() == [
        "2",
        "wbcjax train: unrecognized arguments: --workdri=x: did you mean --workdir? (wbcjax train --help shows what "
        "there is)",
    ]


def load(*overrides: str, config: str = DEMO):
    return load_config_file(f"{ROOT}/{config}", overrides)


def test_of_a_flag_given_twice_the_last_one_counts():
    anchors, levels = "--config.model.rpn.anchor_sizes", "--config.model.rpn.levels"
    config = load(f"{anchors}=(1.0, 2.0, 3.0)", f"{levels}=(4,5)", f"{anchors}=(24.0, 40.0)", "--config.seed=1")
    assert config.model.rpn.anchor_sizes == (24.0, 40.0)
    assert config.model.rpn.levels == (4, 5)
    assert load("--config.seed=1", "--config.seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.train.loss_weights.mask=2", {"mask": 2.0}),
        ("--config.dataset.synthetic.cells=(2, 5)", (2, 5)),
        ("--config.dataset.synthetic.label_others", True),
        ("--config.augment.min_visible=0.5", 0.5),
        ("--config.dataset.group_attribute=None", None),
        ("--config.train.learning_rate=1e-3", 1e-3),
        ("--config.train.learning_rate=1", 1.0),
        ("--config.train.optimizer.b1=0.95", 0.95),
        ("--config.train.boundaries=[1, 2]", [1, 2]),
        ("--noconfig.augment.flip_vertical", False),
        ("--config.augment.rotate", True),
        ("--config.augment.rotate=false", False),
        ("-config.train.warmup_steps=7", 7),
        ("--config.init_from=a=b", "a=b"),
        ("--config.init_from=", ""),
    ],
)
def test_every_key_that_the_config_may_have_can_be_set(override, expected):
    if "classes" in override:
        expected = tuple(expected)
    extra = ["--config.dataset.classes=('L1','L2','L3','other')"] if "label_others" in override else []
    value = load(override, *extra)
    for name in re.sub(r"^-+(no)?config\.", "", override).partition("=")[0].split("."):
        if name == "mask":
            break
        value = value[name]
    plain = value.to_dict() if hasattr(value, "to_dict") else value
    assert (list(plain) if isinstance(expected, list) else plain) == expected
    assert type(plain) is type(expected) or isinstance(expected, list)


def test_an_optimizer_of_optax_is_named_on_the_line_with_its_arguments():
    optimizer = load("--config.train.optimizer.b1=0.95", "--config.train.optimizer.part=optax:lion").train.optimizer
    assert optimizer.to_dict() == {"part": "optax:lion", "b1": 0.95, "b2": 0.99, "mu_dtype": None}


@pytest.mark.slow
def test_a_config_outside_the_checkout_finds_the_shipped_ones(tmp_path):
    """In a process of its own, which has nothing of the checkout on its path but the package."""
    (tmp_path / "mine.py").write_text("from wbcjax.configs.smear_demo import get_config\n")
    code = "import sys; sys.path.append(sys.argv.pop()); from wbcjax.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", code, "plan", "--config", "mine.py", "--config.train.batch_size", "-1", str(ROOT)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode in (1, 2)
    assert said.stderr == "wbcjax: mine.py: config.train.batch_size is -1: give a whole number of at least 0\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "arguments", "told"),
    [
        (
            "train.py",
            ["--config", DEMO, "--workdir=W", "--config.train.bath_size=3"],
            "did you mean config.train.batch_",
        ),
        (
            "evaluate.py",
            ["--workdir=W", "stray"],
            "evaluate.py: unrecognized arguments: stray (evaluate.py --help shows",
        ),
    ],
)
def test_a_program_ends_with_one_line(tmp_path, program, arguments, told):
    said = subprocess.run(
        [sys.executable, program, *(argument.replace("W", str(tmp_path / "run")) for argument in arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "WBCJAX_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode in (1, 2)
    assert told in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bare_checkout_can_be_imported():
    """Without what an installation notes of packages."""
    code = "from importlib.metadata import Distribution as d; d.discover = lambda **_: iter(()); import wbcjax; "
    code += "from wbcjax.system.runtime import versions; print(wbcjax.__version__, versions('wbcjax'))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.stdout == "unknown {'wbcjax': 'unknown'}\n", said.stderr
