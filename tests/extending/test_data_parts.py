"""Augmentations and a reader of a lab's own: files in the working folder, named by import path."""

import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.input import crop_sets, painted
from tests.input.sets import describe, write_image
from wbcjax.commands.config_file import load_config_file
from wbcjax.configs import base, smear_demo
from wbcjax.input.augment import Augment
from wbcjax.input.field_set import sources
from wbcjax.input.sample import Sample
from wbcjax.input.settings import FieldSetSettings, dataset_problems
from wbcjax.settings.checked import checked
from wbcjax.settings.parts import part
from wbcjax.smear.field import AnnotationError

HERE = Path(__file__).parent


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """The working folder, with the three files; what is imported of it is forgotten afterwards."""
    for name in ("colour", "elastic", "reader"):
        shutil.copy(HERE / f"{name}.py", tmp_path / f"{name}.py")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def augment(*more) -> Augment:
    config = base.mask_rcnn()
    config.augment.more = more
    return replace(checked(Augment, config.augment, "config.augment"), flip_horizontal=False, flip_vertical=False)


def first_batches(source, setup, count: int = 2):
    batches = painted.open_batches(source, setup, seed=3)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def test_a_colour_augmentation_changes_pixels_by_its_formula_alone(lab):
    field = painted.painted_field(np.random.default_rng(0), 48, 64)
    setup = painted.settings((64, 64), batch_size=1)
    (plain,) = first_batches(painted.source_of([field]), setup, 1)
    with_gamma = setup._replace(augment=augment(part("colour:Gamma", largest=2.0)))
    changed, later = first_batches(painted.source_of([field]), with_gamma)
    again, _ = first_batches(painted.source_of([field]), with_gamma)
    for name in ("boxes", "labels", "valid", "size"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(plain, name))
    np.testing.assert_array_equal(painted.on_canvas(changed), painted.on_canvas(plain))
    np.testing.assert_array_equal(changed.image, again.image)
    assert changed.image.dtype == np.uint8
    assert later.index == changed.index

    gamma = with_gamma.augment.more[0]
    image = np.full((4, 4, 3), 51, np.uint8)  # a fifth of 255
    sample = gamma(np.random.default_rng(7), Sample(image, np.zeros((0, 4, 4), bool), np.zeros(0, int)))
    power = 2.0 ** np.random.default_rng(7).uniform(-1, 1, 3)
    np.testing.assert_array_equal(sample.image, np.broadcast_to(np.rint(255 * 0.2**power), (4, 4, 3)))


def test_an_elastic_deformation_takes_masks_and_boxes_with_the_pixels(lab):
    fields = [painted.painted_field(np.random.default_rng(seed), 48, 64, cells=1) for seed in range(3)]
    setup = painted.settings((64, 64), batch_size=1)
    setup = setup._replace(augment=augment(part("elastic:Elastic", strength=5.0, smoothness=6.0)))
    plain = first_batches(painted.source_of(fields), setup._replace(augment=Augment()), 3)
    moved = first_batches(painted.source_of(fields), setup, 3)
    both = [[painted.on_canvas(batch) for batch in batches] for batches in (plain, moved)]
    assert any(not np.array_equal(*masks) for masks in zip(*both, strict=True))
    for batch in moved:
        mask, (x1, y1, x2, y2) = painted.on_canvas(batch)[0, 0], batch.boxes[0, 0]
        assert (x1, y1, x2 - x1, y2 - y1) == cv2.boundingRect(mask)
        bright = batch.image[0, ..., 0] >= 128  # the cell is what is bright in the first channel
        assert np.count_nonzero(bright != mask) <= 0.1 * np.count_nonzero(mask)


def test_an_augmentation_of_crops_is_given_the_crop_without_masks(lab):
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    setup = crop_sets.settings((20, 20), batch_size=1)
    setup = setup._replace(augment=augment(part("colour:Gamma", largest=2.0)))
    batches = crop_sets.open_batches(crop_sets.source_of([image], [0]), setup, seed=0)
    changed = next(batches).image[0]
    batches.close()
    assert (changed != image).any()
    for channel in range(3):  # a power keeps the order of the values
        order = np.argsort(image[..., channel].ravel(), kind="stable")
        assert np.all(np.diff(changed[..., channel].ravel()[order].astype(int)) >= 0)


def test_what_gives_another_shape_is_named_with_its_place(lab):
    (lab / "wrong.py").write_text(
        "def halve(rng, sample):\n    return type(sample)(sample.image[::2], sample.masks[:, ::2], sample.labels)\n"
    )
    field = painted.painted_field(np.random.default_rng(0), 48, 64)
    setup = painted.settings((64, 64), batch_size=1)._replace(augment=augment(part("wrong:halve")))
    with pytest.raises(
        ValueError, match=r"config\.augment\.more\[0\] gives image of \(32, 64, 3\) uint8: give them as"
    ):
        first_batches(painted.source_of([field]), setup)


def circles(lab: Path, rows: str) -> FieldSetSettings:
    write_image(lab / "images/a.png", 1)
    write_image(lab / "images/b.png", 2)
    (lab / "circles.csv").write_text(f"image,x,y,radius,class\n{rows}")
    dataset = describe(lab / "circles.csv", lab / "images", "reader:read", ("blast",))
    return replace(dataset, class_of=(("blast", "blast"), ("other", "")))


def test_a_reader_gives_the_fields_that_via_gives_of_the_same_circles(lab):
    found = circles(lab, "a.png,12,10,6,blast\na.png,24,12,4,other\nb.png,16,12,5,blast\n")
    shapes = {"a.png": [(12, 10, 6, "blast"), (24, 12, 4, "other")], "b.png": [(16, 12, 5, "blast")]}
    entries = {
        name: {
            "filename": name,
            "size": -1,
            "file_attributes": {},
            "regions": [
                {
                    "shape_attributes": {"name": "circle", "cx": x, "cy": y, "r": radius},
                    "region_attributes": {"cell": kind},
                }
                for x, y, radius, kind in of_image
            ],
        }
        for name, of_image in shapes.items()
    }
    (lab / "via.json").write_text(json.dumps(entries))
    via = replace(found, name="via", annotations=str(lab / "via.json"))
    ours, theirs = sources(found, lab / "cache"), sources(via, lab / "cache")
    assert list(ours) == list(theirs) == ["train", "val"]
    for part_of_set in ours:
        assert ours[part_of_set].names == theirs[part_of_set].names
        one, other = ours[part_of_set].field(0), theirs[part_of_set].field(0)
        np.testing.assert_array_equal(one.image(), other.image())
        assert [(cell.label, cell.rle) for cell in one.cells] == [(cell.label, cell.rle) for cell in other.cells]
        assert len(one.cells) == 1


def test_all_that_is_wrong_in_a_table_is_told_with_its_line(lab):
    dataset = circles(lab, "a.png,12,x,6,blast\nc.png,1,2,3,blast\n")
    with pytest.raises(
        AnnotationError, match=r"2 problems\n  a.png, line 2: 'x' is no number; correct the line\n  c.png"
    ):
        sources(dataset, lab / "cache")


def test_a_set_is_built_anew_when_its_reader_changes(lab):
    dataset = circles(lab, "a.png,12,10,6,blast\nb.png,16,12,5,blast\n")
    sources(dataset, lab / "cache")
    text = (lab / "reader.py").read_text()
    (lab / "reader.py").write_text(text + "\n# another way\n")
    sources(dataset, lab / "cache")
    assert len([path for path in (lab / "cache").glob("reader.read-*") if path.is_dir()]) == 2


def test_data_parts_are_set_on_the_command_line(lab):
    """Parts of data are given on the command line and refused in a line."""
    demo = str(Path(smear_demo.__file__))
    given = ["--config.dataset.name=reader:read", "--config.augment.more=({'part':'colour:Gamma','largest':2.0},)"]
    config = load_config_file(demo, given)
    assert config.dataset.name == "reader:read"
    assert checked(Augment, config.augment, "config.augment").more[0].largest == 2.0
    dataset = replace(describe(lab, lab, "reader:reed"), annotations="a")
    (told,) = dataset_problems(dataset)
    assert told.startswith("config.dataset.name is 'reader:reed': reader has no reed: did you mean read?")
