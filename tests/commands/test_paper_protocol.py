"""The images of the paper's protocol: what is flipped, and that training and test see them as they should."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.test_detection import write_via
from wbcjax.commands.experiment import paper_protocol
from wbcjax.commands.experiment.paper_protocol import choose, flip, on_paper_set, write_paper_set
from wbcjax.configs import smear_demo
from wbcjax.evaluate.vote import vote
from wbcjax.input.augment import Augment, random_matrix
from wbcjax.input.contents import field_set
from wbcjax.input.field_set import source
from wbcjax.input.settings import FieldSetSettings
from wbcjax.input.split import split_fields
from wbcjax.settings.checked import checked
from wbcjax.smear import synthetic
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.read import FieldSet
from wbcjax.tasks.detection import without_votes

CLASSES = ("L1", "L2", "L3")
SEED = 20  # of twelve drawn fields with some of each subtype
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def field_of(*labels: int, name: str = "a.png", crowd: bool = False) -> SmearField:
    cells = tuple(Cell(label, box=(0.0, 0.0, 2.0, 2.0), crowd=crowd) for label in labels)
    return SmearField(name, 4, 6, cells, pixels=PIXELS)


@pytest.mark.parametrize(("name", "drawn"), [("synthetic", True), ("via", False)])
def test_files_of_drawn_fields_are_still_known_to_be_drawn(tmp_path, name, drawn):
    config = smear_demo.get_config()
    config.dataset.name = name
    (tmp_path / "coco.json").write_text('{"images": []}')
    changed = on_paper_set(config, tmp_path)
    assert changed.dataset.name == "coco"
    dataset = FieldSetSettings.from_config(changed.dataset)
    assert dataset.is_drawn == drawn
    assert bool(without_votes(dataset)) == drawn  # the demonstration's fields are mixtures


@given(corner=st.tuples(st.integers(0, 4), st.integers(0, 2)), crowd=st.booleans())
def test_a_flip_moves_pixels_outlines_and_boxes_alike(corner, crowd):
    x, y = corner
    triangle = np.array([[x, y], [6.0, y], [x, 4.0]])
    cells = (Cell(1, polygons=(triangle,), crowd=crowd), Cell(2, box=(float(x), float(y), 6.0, 3.0)))
    flipped = flip(SmearField("a.jpg", 4, 6, cells, pixels=PIXELS, group="p"), "train")
    assert flipped.name == "flipped/train/a.jpg.png"
    np.testing.assert_array_equal(flipped.image(), np.rot90(PIXELS, 2))
    assert [(cell.label, cell.crowd, cell.outlined) for cell in flipped.cells] == [(1, crowd, True), (2, False, False)]
    for before, after in zip(cells, flipped.cells, strict=True):
        np.testing.assert_array_equal(after.mask(4, 6), np.rot90(before.mask(4, 6), 2))
    assert flipped.cells[1].box == (0, 1, 6 - x, 4 - y)


def test_fields_are_drawn_by_what_the_pathologists_rule_makes_of_their_annotated_cells():
    fields = [
        field_of(1, 1, 2, name="one"),
        field_of(1, 2, name="two"),
        field_of(1, 1, 1, 3, name="three"),
        field_of(name="none"),
        field_of(3, 3, crowd=True, name="crowd"),
    ]
    assert [field.name for field in choose(fields, CLASSES, 1, seed=0)] == ["one", "two", "three"]


def test_the_seed_draws_the_fields_and_none_twice():
    fields = [field_of(label, name=f"{label}_{k}") for label in (1, 2, 3) for k in range(9)]
    first, again, other = ([field.name for field in choose(fields, CLASSES, 5, seed)] for seed in (0, 0, 1))
    assert first == again != other
    assert Counter(name[0] for name in {*first}) == {"1": 5, "2": 5, "3": 5}


def test_too_few_fields_of_a_subtype_are_told_with_their_number():
    fields = [field_of(1), field_of(1), field_of(3), field_of(3)]
    with pytest.raises(ValueError, match=r"flips 2 fields of each .* only 0 of L2 by the pathologists' rule"):
        choose(fields, CLASSES, 2, seed=0)


@pytest.fixture(params=["synthetic", "via"])
def config(request, tmp_path, monkeypatch):
    """On twelve drawn fields, or on the same as a user would bring them; one of each subtype is flipped."""
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper_protocol, "PER_SUBTYPE", 1)
    config = smear_demo.get_config()
    config.dataset.synthetic.update({"count": 12, "seed": SEED, "height": 96, "width": 128})
    if request.param == "via":
        write_via(tmp_path / "data", 12, SEED)
        config.dataset.name = "via"
        config.dataset.annotations = str(tmp_path / "data/via.json")
        config.dataset.images = str(tmp_path / "data/images")
        config.dataset.class_of = (("L1", "L1"), ("L2", "L2"), ("L3", "L3"))
    return config


def test_the_papers_60_flips_divide_into_45_and_15(config, tmp_path, monkeypatch):
    """The papers 60 flips are 45 to train and 15 to validate and all fields test."""
    monkeypatch.setattr(paper_protocol, "PER_SUBTYPE", 20)
    counts = {1: 24, 2: 20, 3: 31}
    fields = [field_of(label, name=f"{label}_{k}.png") for label, count in counts.items() for k in range(count)]
    found = FieldSet(fields, (), Counter(), [], 0, 0, [])
    monkeypatch.setattr(paper_protocol, "field_set", lambda _: found)
    write_paper_set(FieldSetSettings.from_config(config.dataset), tmp_path / "set")
    config.dataset.split.test_fraction = 0.2  # which the lists take the place of
    dataset = FieldSetSettings.from_config(on_paper_set(config, tmp_path / "set").dataset)
    parts = split_fields(field_set(dataset).fields, dataset.split)
    of_subtype = {part: Counter(field.cells[0].label for field in fields) for part, fields in parts.items()}
    assert of_subtype == {"train": {1: 15, 2: 15, 3: 15}, "val": {1: 5, 2: 5, 3: 5}, "test": counts}
    flipped = [field.name.split("/")[-1] for part in ("train", "val") for field in parts[part]]
    assert len(set(flipped)) == 60, "no field is flipped for both"
    assert [field.name for field in parts["test"]] == [field.name for field in fields]


@pytest.mark.slow
def test_flips_train_and_unflipped_fields_test(config, tmp_path):
    """Training and validation are on flips alone and the test on all fields as they are."""
    write_paper_set(FieldSetSettings.from_config(config.dataset), tmp_path / "set")
    changed = on_paper_set(config, tmp_path / "set")
    train, val, test = (
        source(FieldSetSettings.from_config(changed.dataset), part) for part in ("train", "val", "test")
    )

    config.dataset.split.train_fraction = 0.0
    originals = source(FieldSetSettings.from_config(config.dataset), "val")
    assert test.names == originals.names
    for tested, original in zip(map(test.field, range(12)), map(originals.field, range(12)), strict=True):
        np.testing.assert_array_equal(tested.image(), original.image())
        assert [(cell.label, cell.to_rle(96, 128)) for cell in tested.cells] == [
            (cell.label, cell.to_rle(96, 128)) for cell in original.cells
        ]

    subtypes = []
    for flipped in (val.field(0), train.field(0), train.field(1)):
        name = flipped.name.removeprefix("flipped/train/").removeprefix("flipped/val/").removesuffix(".png")
        original = originals.field(originals.names.index(name))
        np.testing.assert_array_equal(flipped.image(), np.rot90(original.image(), 2))
        for after, before in zip(flipped.cells, original.cells, strict=True):
            assert after.label == before.label
            np.testing.assert_array_equal(after.mask(96, 128), np.rot90(before.mask(96, 128), 2))
        names = [synthetic.CLASSES[cell.label - 1] for cell in original.cells]
        subtypes.append(vote(names, np.ones(len(names))))
    assert subtypes == ["L1", "L2", "L3"]
    assert (len(train), len(val)) == (2, 1)


def test_nothing_turns_the_flips_back_and_all_else_is_as_the_config_says(config, tmp_path):
    config.augment.update({"rotate": True, "hue": 8.0})
    write_paper_set(FieldSetSettings.from_config(config.dataset), tmp_path / "set")
    changed = on_paper_set(config, tmp_path / "set")
    plain = checked(Augment, changed.augment, "config.augment")
    assert plain == Augment(hue=8.0)
    matrices = [random_matrix(plain, 96, 128, (96, 128), np.random.default_rng(seed)) for seed in range(8)]
    np.testing.assert_array_equal(matrices, [np.eye(3)] * 8)
    assert changed.train == config.train
    assert changed.model == config.model
    assert changed.dataset.classes == config.dataset.classes
    assert config.augment.rotate, "the config given is left as it is"
