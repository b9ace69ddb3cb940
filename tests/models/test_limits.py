"""The places that a model has for cells: what is refused, warned of and told when they are too few."""

import logging
import re
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from wbcjax.configs import smear_demo
from wbcjax.models.box_head import DetectionSettings, detect
from wbcjax.models.limits import LIMITS, PLACES, FilledLimits, check_room, needed
from wbcjax.models.mask_rcnn import Detections
from wbcjax.models.rpn import Rpn, RpnOutputs
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.predict.detector import Predictor
from wbcjax.predict.devices import CompiledNetwork, OnLocalDevices


def limits_of(config: ConfigDict) -> dict[str, int]:
    return from_dict(MaskRCNNSettings, config.model.to_dict()).limits


def test_too_many_cells_name_every_limit_to_raise(caplog):
    """The error for more cells than a batch holds names fields and limits; the limits it asks for are enough."""
    config = smear_demo.get_config()
    cells = {"train": {"a.png": 90, "b.png": 3, "c.png": 17}, "val": {"d.png": 4}}
    with pytest.raises(ValueError, match=r"dataset\.max_cells is 16; set it to 90 or more, for") as refused:
        check_room(limits_of(config), config.dataset.max_cells, cells)
    told = str(refused.value)
    assert "  a.png: 90 cells\n  c.png: 17 cells" in told
    assert "b.png" not in told
    assert "--config.model.detection.per_image=270 (32 now)" in told
    flags = re.findall(r"--config\.model\.([a-z._]+)=(\d+) \(\d+ now\)", told)
    assert {name: int(value) for name, value in flags} == needed(90)
    for name, value in flags:
        part, _, key = name.partition(".")
        config.model[part][key] = int(value)
    config.dataset.max_cells = 90
    check_room(limits_of(config), config.dataset.max_cells, cells)
    assert not caplog.text


def test_validation_cells_need_no_room_in_a_batch(caplog):
    """Cells to validate on need no room in a batch but places to be found."""
    config = smear_demo.get_config()
    check_room(limits_of(config), config.dataset.max_cells, {"train": {"a.png": 8}, "val": {"b.png": 32}})
    assert not caplog.text
    check_room(limits_of(config), config.dataset.max_cells, {"train": {"a.png": 8}, "val": {"b.png": 33}})
    assert "a field has 33 cells, and the model can find no more than 32 of them" in caplog.text
    assert "--config.model.detection.per_image=99 (32 now)" in caplog.text


def ninety_cells(settings: DetectionSettings) -> tuple[int, bool]:
    """How many of 90 cells, each of three RoIs, are found, and whether more boxes were there than enter NMS."""
    x, y = np.meshgrid(np.arange(10), np.arange(9))
    corners = np.stack([x.ravel(), y.ravel()], axis=1) * 20.0
    rois = np.repeat(np.concatenate([corners, corners + 15], axis=1), 3, axis=0).astype(np.float32)
    scores = jnp.tile(jnp.array([0.01, 0.99]), (270, 1))
    found = detect(scores, jnp.asarray(rois[:, None]), jnp.ones(270, bool), settings, cpu=True)
    return int(found[3].sum()), bool(found[4])


@pytest.mark.slow
def test_90_cells_need_the_limits_that_are_told():
    """A field of 90 cells gives 32 by the demonstrations limits and all by those that it needs."""
    small, limits = smear_demo.get_config().model.detection, needed(90)
    per_image, candidates = limits["detection.per_image"], limits["detection.candidates"]
    assert ninety_cells(DetectionSettings(per_image=small.per_image, candidates=small.candidates)) == (32, True)
    assert ninety_cells(DetectionSettings(per_image=per_image, candidates=small.candidates)) == (67, True)
    assert ninety_cells(DetectionSettings(per_image=per_image, candidates=candidates)) == (90, False)


@pytest.mark.parametrize(("per_level", "full"), [(True, [False, True]), (False, [True, True])])
def test_the_rpn_is_full_where_it_takes_more_for_cells_than_it_keeps(per_level, full):
    rpn = Rpn(per_level=per_level, before_nms_test=3, proposals_test=2)
    logits = [jnp.array([[1.0, 2, 3, -1], [1, 1, 1, 1]]), jnp.array([[4.0, -1], [-1, -1]])]
    before, proposals = rpn.full(RpnOutputs(logits, []), jnp.array([[3.0, -0.5], [2.0, 0.5]]))
    assert before.tolist() == full
    assert proposals.tolist() == [False, True]


def stub(told: bool) -> Predictor:
    """A first pixel's red is its number of cells, 2 at most; its green has a bit for each full limit."""

    def network(_, images, sizes):
        count, full = images[:, 0, 0, 0], images[:, 0, 0, 1]
        boxes = jnp.tile(jnp.array([1.0, 1, 9, 9]), (len(images), 2, 1))
        valid = jnp.arange(2) < count[:, None]
        flags = (full[:, None] >> jnp.arange(4)) % 2 == 1
        scores, masks = jnp.full((len(images), 2), 0.9), jnp.ones((len(images), 2, 28, 28))
        return Detections(boxes, jnp.ones((len(images), 2), int), scores, masks, valid, flags if told else None)

    limits = dict(zip(LIMITS, (200, 100, 300, 2), strict=True))
    local = OnLocalDevices(CompiledNetwork(network, 1), {})
    return Predictor(local, (32, 32), ("cell",), "detectron2", (1.0, 1.0), limits=limits)


def image(count: int, *full: str, width: int = 32) -> np.ndarray:
    pixels = np.zeros((32, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = count, sum(1 << LIMITS.index(name) for name in full)
    return pixels


def test_images_that_fill_a_limit_are_told_once(caplog):
    """Images that fill a limit are told once a list by key number and remedy."""
    pictures = [
        ("empty.png", image(0)),
        ("full.png", image(2, "detection.per_image", "detection.candidates")),
        ("tiles.png", image(1, "detection.per_image", width=100)),  # each of its tiles
    ]
    assert len(list(stub(True).detect_each(pictures))) == 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    told = record.getMessage()
    assert "config.model.detection.per_image = 2 is full in 2 (such as full.png)" in told
    assert "config.model.detection.candidates = 300 is full in 1 (such as full.png)" in told
    assert "rpn" not in told
    assert "in the config.json of the run; it need not be trained again" in told
    assert "\n" not in told


def test_images_that_fill_a_limit_are_told_though_a_later_one_fails(caplog):
    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        yield from ((f"full {i}.png", image(2, "detection.per_image")) for i in range(24))
        raise ValueError("broken.png is no image")

    with pytest.raises(ValueError, match=r"broken\.png"):
        list(stub(True).detect_each(pictures()))
    assert "config.model.detection.per_image = 2 is full in" in caplog.text


def test_one_image_alone_is_told_of_too_and_one_with_room_is_not(caplog):
    model = stub(True)
    model.detect(image(1), "room.png")
    assert not caplog.records
    model.detect(image(2, "rpn.before_nms_test"), "one.png")
    assert "config.model.rpn.before_nms_test = 200 is full in 1 (such as one.png)" in caplog.text


def test_an_older_export_is_full_when_all_places_are(caplog):
    """A model exported before it told its limits is full when all its places are taken."""
    found = list(stub(False).detect_each([("a.png", image(1)), ("b.png", image(2))]))
    assert [len(one.rles) for one in found] == [1, 2]
    assert "config.model.detection.per_image = 2 is full in 1 (such as b.png)" in caplog.text


def test_a_model_whose_limits_are_not_known_tells_nothing(caplog):
    filled = FilledLimits({})
    filled.note("a.png", ["detection.per_image"])
    filled.tell()
    assert not caplog.records


def test_every_limit_is_a_setting_of_the_model():
    config = smear_demo.get_config()
    assert set(LIMITS) <= set(PLACES) == set(limits_of(config))
    assert limits_of(config)["rpn.proposals_test"] == config.model.rpn.proposals_test
    assert limits_of(config)["detection.per_image"] == config.model.detection.per_image
