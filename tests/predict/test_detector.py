"""At which scale, and in how many pieces, an image is shown to the network, and that the pieces tell the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.input.painted import source_of
from tests.oracle import as_set, oracle, paint
from wbcjax.enhance import DRAWN, METHODS, Enhancement
from wbcjax.input.settings import FieldSetSettings
from wbcjax.models.settings import TORCHVISION
from wbcjax.predict import detector as predict
from wbcjax.predict.detector import predictor
from wbcjax.predict.search import Picture
from wbcjax.runs.folder import load_config, load_facts
from wbcjax.smear.field import SmearField

CANVAS = (64, 96)
CELLS = {
    (10, 10, 30, 30): 1,  # in one tile
    (80, 20, 110, 50): 2,  # on a seam
    (85, 55, 105, 75): 3,  # on a corner of four tiles
    (30, 78, 200, 86): 1,  # longer than a tile
    (200, 100, 220, 120): 2,  # at the image's corner
    (220, 90, 230, 100): 3,  # touches the one before
}


def test_tiles_find_the_cells_of_the_whole_image():
    """Cells of an image in tiles are those of the image in one piece."""
    image = paint(120, 230, CELLS)
    tiled, whole = oracle(CANVAS, (1.0, 1.0)), oracle((128, 256), (1.0, 1.0))
    assert len(tiled.layout(120, 230).tiles) == 9
    assert len(whole.layout(120, 230).tiles) == 1
    found = tiled.detect(image)
    boxes = np.array(list(CELLS), np.float32)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, boxes.tolist()))
    assert {box: label for box, label, *_ in as_set(found)} == CELLS
    assert {entry[:2] + entry[3:] for entry in as_set(found)} == {e[:2] + e[3:] for e in as_set(whole.detect(image))}
    assert tiled.network.compiled.compilations == 1


def test_nuclei_on_a_seam_that_fill_their_cells_are_found_beside_them():
    cells = {
        (70, 10, 150, 60): 1,  # whole in no tile,
        (72, 12, 148, 58): 2,  # nor is its nucleus
        (60, 70, 100, 110): 1,
        (65, 75, 95, 105): 2,  # whole in a tile that sees the cell cut
    }
    image = paint(120, 230, cells)
    model = oracle(CANVAS, (1.0, 1.0))
    model.classes = ("cell", "nucleus")
    assert {box: label for box, label, *_ in as_set(model.detect(image))} == cells


def test_images_are_enhanced_once_as_in_training(monkeypatch):
    """An image is enhanced as those of training were and a built set is not enhanced again."""
    image = paint(60, 90, {(10, 10, 30, 30): 1})
    monkeypatch.setitem(METHODS, "he", lambda image: image[:, ::-1])
    model = oracle(CANVAS, (1.0, 1.0))
    model.enhance = Enhancement("he")
    assert model.detect(image).boxes.tolist() == [[60, 10, 80, 30]]
    field = SmearField("a.png", 60, 90, (), pixels=image)
    (found,) = model.detect_source(source_of([field]))
    assert found.boxes.tolist() == [[10, 10, 30, 30]]


def test_a_model_brings_images_to_the_stain_that_its_fields_were_brought_to():
    stain = replace(DRAWN, mean=(60.0, 20.0, -10.0))
    dataset = FieldSetSettings(enhance="reinhard", stain=stain, canvas=CANVAS)
    assert predictor(TORCHVISION, dataset).enhance == Enhancement("reinhard", stain)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0])
def test_cells_of_tiles_at_a_scale_lie_where_they_are_in_the_image(scale):
    cells = {(60 * k + 8, 40 * k + 12, 60 * k + 68, 40 * k + 52): 1 + k % 3 for k in range(6)}
    found = oracle(CANVAS, (scale, scale)).detect(paint(300, 400, cells))
    assert len(found.rles) == 6
    order = np.argsort(found.boxes[:, 0])
    np.testing.assert_allclose(found.boxes[order], np.array(list(cells), float), atol=1.01 / scale)
    assert found.labels[order].tolist() == list(cells.values())


def test_an_image_is_shown_at_the_scale_that_fits_within_those_of_training():
    model = oracle(CANVAS, (0.5, 0.75))
    assert model.layout(128, 192) == (0.5, [(0, 0)])  # fits at 0.5
    assert model.layout(100, 150) == (0.64, [(0, 0)])
    assert model.layout(10, 20) == (0.75, [(0, 0)])  # not enlarged beyond what was learned
    assert model.layout(128, 193) == (0.5, [(0, 0)])  # 96.5 pixels: the last has its centre outside
    assert model.layout(128, 194) == (0.5, [(0, 0), (0, 1)])
    assert model.layout(256, 384).scale == 0.5  # nor shrunk
    assert len(model.layout(256, 384).tiles) == 9


def test_an_image_is_scaled_by_its_pixel_size_over_the_trainings():
    model = oracle(CANVAS, (0.5, 0.75))
    assert model.layout(128, 192, 0.1) == model.layout(128, 192)  # the training's is not known
    model.pixel_size = 0.2
    assert model.layout(128, 192) == model.layout(128, 192, 0.2) == (0.5, [(0, 0)])
    assert model.layout(256, 384, 0.1) == (0.25, [(0, 0)])  # twice as many pixels of half the size
    assert model.layout(64, 96, 0.4) == (1.0, [(0, 0)])
    assert model.layout(1000, 1000, 0.1).scale == 0.25
    assert model.layout(10, 10, 0.1).scale == 0.375


def test_cells_of_another_magnification_are_found_where_they_are():
    cells = {(16, 24, 80, 64): 1, (100, 40, 140, 120): 2}
    image = paint(128, 192, cells)
    model = oracle(CANVAS, (1.0, 1.0))
    model.pixel_size = 0.5
    for found in (
        model.detect(image, "a.png", 0.25),
        *model.detect_each([Picture("a.png", image, 0.25)]),
        model.predict(image, pixel_size=0.25).detections,
    ):
        assert found.labels.tolist() == list(cells.values())
        np.testing.assert_allclose(found.boxes, np.array(list(cells), float), atol=1.01 / 0.5)
    assert model.layout(128, 192, 0.25).tiles == [(0, 0)]
    assert len(model.layout(128, 192).tiles) > 1


def test_predict_takes_the_pixel_size_that_a_file_states(tmp_path, monkeypatch):
    Image.fromarray(paint(128, 192, {(16, 24, 80, 64): 1})).save(tmp_path / "a.png", dpi=(101600, 101600))
    model = oracle(CANVAS, (1.0, 1.0))
    model.pixel_size, seen = 0.5, []
    layout = model.layout
    monkeypatch.setattr(model, "layout", lambda *of: seen.append(of[2]) or layout(*of))
    model.predict(tmp_path / "a.png")
    model.predict(tmp_path / "a.png", pixel_size=0.4)
    assert seen == [pytest.approx(0.25), 0.4]


def test_without_noted_scales_images_fit_the_canvas():
    """A run that has not noted its scales fits every image to the canvas."""
    model = oracle(CANVAS)
    for height, width in [(64, 96), (640, 960), (6, 9), (1, 1000)]:
        assert model.layout(height, width) == (min(64 / height, 96 / width), [(0, 0)])


@pytest.mark.parametrize("scale", [0.41, 0.5, 0.77, 1.0])
def test_every_pixel_told_to_the_network_as_field_is_drawn(scale):
    rows, columns = np.arange(CANVAS[0])[:, None], np.arange(CANVAS[1])
    for height, width in [(101, 149), (63, 97), (5, 7), (250, 301)]:
        for piece in oracle(CANVAS, (scale, scale))._pieces(Picture("a", np.full((height, width, 3), 255, np.uint8))):
            inside = (rows < piece.size[0]) & (columns < piece.size[1])  # as MaskRCNN.features has it
            np.testing.assert_array_equal(piece.drawn.min(axis=2), np.where(inside, 255, 0))


def test_an_image_too_large_to_be_drawn_is_refused_with_its_size():
    model = oracle(CANVAS, (1.0, 1.0))
    with pytest.raises(ValueError, match=r"40000 x 500 pixels, at scale 1 40000 x 500: more than 32767 on a side"):
        model.layout(500, 40000)


def test_a_built_set_gives_what_each_of_its_fields_gives_alone():
    rng = np.random.default_rng(0)
    fields = []
    for number, (height, width) in enumerate([(64, 96), (120, 230), (30, 40), (300, 60), (64, 96)]):
        cells = {
            (x, y, x + 12, y + 10): int(rng.integers(1, 4)) for y in (5, height - 12) for x in range(2, width - 14, 25)
        }
        image = paint(height, width, dict(list(cells.items())[:20]))
        fields.append(SmearField(f"{number}.png", height, width, (), pixels=image))
    model = oracle(CANVAS, (1.0, 1.0))
    together = list(model.detect_source(source_of(fields)))
    assert [found.name for found in together] == [field.name for field in fields]
    assert model.network.compiled.compilations == 1
    for found, field in zip(together, fields, strict=True):
        assert len(found.rles) > 1
        assert as_set(found) == as_set(model.detect(field.image(), field.name))


def test_scales_that_cannot_be_read_are_refused_naming_the_file(tmp_path: Path):
    def scales():
        return predict._scales(load_facts(tmp_path), tmp_path)

    assert scales() is None
    (tmp_path / "data.json").write_text(json.dumps({"scale": [0.5, 0.75]}))
    assert scales() == (0.5, 0.75)
    for wrong, told in (("{", "no notes"), ('{"scale": 3}', "no range of scales"), ('{"scale": [1]}', "no range")):
        (tmp_path / "data.json").write_text(wrong)
        with pytest.raises(ValueError, match=rf"data\.json: {told}"):
            scales()


def test_a_broken_config_of_a_run_is_refused_naming_the_file(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"dataset"')
    with pytest.raises(ValueError, match=r"config\.json: broken JSON"):
        load_config(tmp_path)


def test_several_numbers_of_a_head_are_numbered_columns_also_of_no_cell():
    said = {"roundness": np.array([1.0, 2.0]), "stain": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}
    found = {name: values.tolist() for name, values in predict._columns(said).items()}
    assert found == {"roundness": [1, 2], "stain_1": [1, 4], "stain_2": [2, 5], "stain_3": [3, 6]}
    assert {name: len(of) for name, of in predict._columns({"a": np.zeros((0, 2))}).items()} == {"a_1": 0, "a_2": 0}
