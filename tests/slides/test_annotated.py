"""Fields cut out of annotated slides: where, with which cells, and by which patient they are kept together."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tests.slides.make import halves, ome_pyramid, picture
from wbcjax.input.field_set import sources
from wbcjax.input.settings import FieldSetSettings
from wbcjax.input.split import SplitSettings
from wbcjax.slides.annotated import SlideField, cut_fields, file_of, windows
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.formats.checks import Reading
from wbcjax.smear.read import FieldSet, read

HEIGHT, WIDTH, SIDE = 300, 421, 100
IMAGE = picture(HEIGHT, WIDTH)
SQUARE = [[120, 90], [140, 90], [140, 110], [120, 110]]  # over the seam of two fields


def by_hundreds(reading: Reading):
    return cut_fields(reading, SIDE)


def feature(name: str, *rings: list) -> dict:
    closed = [[*ring, ring[0]] for ring in rings]
    geometry = {"type": "Polygon", "coordinates": closed}
    kind = {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}}
    return {"type": "Feature", "geometry": geometry, "properties": kind}


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list:
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


REGION = feature("Region*", rectangle(50, 50, 250, 200))


def annotated(folder: Path, *features: dict, name: str = "a") -> tuple[Path, Path]:
    """A slide and the file of its annotations, in two folders."""
    (folder / "slides").mkdir(exist_ok=True)
    (folder / "geojson").mkdir(exist_ok=True)
    ome_pyramid(folder / "slides" / f"{name}.ome.tif", halves(IMAGE, 2), micrometres=0.5)
    data = {"type": "FeatureCollection", "features": list(features)}
    (folder / "geojson" / f"{name}.geojson").write_text(json.dumps(data), encoding="utf-8")
    return folder / "geojson", folder / "slides"


def found_in(places: tuple[Path, Path], **options) -> FieldSet:
    return read(*places, file_format=by_hundreds, **options)


def test_fields_cover_the_region_and_show_its_pixels(tmp_path):
    found = found_in(annotated(tmp_path, REGION, feature("L1", SQUARE)))
    corners = [(50, 50), (150, 50), (50, 100), (150, 100)]
    assert [field.name for field in found.fields] == [f"a.ome.tif@{x},{y}" for x, y in corners]
    for field, (x, y) in zip(found.fields, corners, strict=True):
        np.testing.assert_array_equal(field.image(), IMAGE[y : y + SIDE, x : x + SIDE])
        assert (field.group, field.pixel_size) == ("a.ome.tif", 0.5)


def test_a_cell_has_its_pixels_in_every_field_that_sees_it(tmp_path):
    """Of one with a hole, as pycocotools would draw it on the slide; on a seam each field has its part."""
    hole = rectangle(126, 96, 132, 104)
    found = found_in(annotated(tmp_path, REGION, feature("L1", SQUARE, hole)))
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[90:110, 120:140] = 1
    whole[96:104, 126:132] = 0
    for field in found.fields:
        assert isinstance(field, SlideField)
        part = whole[field.top : field.top + SIDE, field.left : field.left + SIDE]
        masks = [cell.mask(SIDE, SIDE) for cell in field.cells]
        assert len(masks) == int(part.any())
        assert all((mask == part).all() for mask in masks)
    assert found.classes == ("L1",)


def test_a_remnant_of_a_cell_trains_nothing(tmp_path):
    """Of a cell that is cut so that a field holds less than a quarter of it, the rest is a crowd region there."""
    found = found_in(annotated(tmp_path, REGION, feature("L1", rectangle(60, 60, 80, 102))))
    crowd = {field.name: [cell.crowd for cell in field.cells] for field in found.fields if field.cells}
    assert crowd == {"a.ome.tif@50,50": [False], "a.ome.tif@50,100": [True]}


def test_cells_outside_of_all_regions_are_told(tmp_path):
    found = found_in(annotated(tmp_path, REGION, feature("L1", rectangle(300, 10, 320, 30))))
    assert sum(len(field.cells) for field in found.fields) == 0
    assert sum("outside of all regions" in str(suspect) for suspect in found.suspects) == 1


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ([feature("L1", SQUARE)], "no region says where every cell is annotated"),
        ([feature("region", rectangle(0, 0, 99, 200))], "the region has 99 x 200 pixels on the slide"),
        ([feature("region", rectangle(350, 0, 480, 200))], "the region has 71 x 200 pixels on the slide"),
        ([feature("region", [[0, 0], [200, 0], [0, 200]])], "no upright rectangle"),
        ([REGION, {**feature("", SQUARE), "properties": {}}], "it has no class"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_file_and_remedy(tmp_path, features, told):
    with pytest.raises(AnnotationError, match=told):
        found_in(annotated(tmp_path, *features))


def test_annotations_without_a_slide_are_refused(tmp_path):
    places = annotated(tmp_path, REGION)
    (places[1] / "a.ome.tif").rename(places[1] / "b.ome.tif")
    with pytest.raises(AnnotationError, match="there is no slide of the name 'a'"):
        found_in(places)


def test_patients_of_a_table_are_the_groups(tmp_path):
    annotated(tmp_path, REGION, name="a")
    places = annotated(tmp_path, REGION, name="b")
    (places[0] / "patients.csv").write_text("slide,patient\na.ome.tif,P\nb.ome,P\n", encoding="utf-8")
    assert {field.group for field in found_in(places).fields} == {"P"}
    (places[0] / "patients.csv").write_text("slide,patient\na.ome.tif,P\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"names no patient of b\.ome\.tif"):
        found_in(places)


def test_coco_in_slide_coordinates_gives_the_same_fields(tmp_path):
    places = annotated(tmp_path, REGION, feature("L1", SQUARE))
    data = {
        "images": [{"id": 7, "file_name": "elsewhere/a.ome.tif", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "L1"}, {"id": 2, "name": "Region"}],
        "annotations": [
            {"image_id": 7, "category_id": 2, "bbox": [50, 50, 200, 150]},
            {"image_id": 7, "category_id": 1, "segmentation": [np.ravel(SQUARE).tolist()]},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(data), encoding="utf-8")
    theirs, ours = found_in(places), found_in((tmp_path / "coco.json", places[1]))
    assert [field.name for field in ours.fields] == [field.name for field in theirs.fields]
    for one, other in zip(ours.fields, theirs.fields, strict=True):
        assert [cell.to_rle(SIDE, SIDE) for cell in one.cells] == [cell.to_rle(SIDE, SIDE) for cell in other.cells]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(10, 200), st.integers(10, 200))
def test_windows_cover_a_region_and_never_leave_it(x, y, width, height):
    region = (x, y, x + width, y + height)
    found = [shapely.box(*window) for window in windows(region, 10)]
    assert shapely.union_all(found).equals(shapely.box(*region))
    assert all(window.area == 100 for window in found)
    assert len(found) == -(-width // 10) * -(-height // 10)


def test_a_set_is_built_of_regions_and_patients_stay_on_one_side(tmp_path):
    """What trains are the very pixels and masks of the slide, as records."""
    annotated(tmp_path, REGION, feature("L1", rectangle(60, 60, 80, 80)), name="a")
    places = annotated(tmp_path, REGION, feature("L1", rectangle(60, 60, 80, 80)), name="b")
    dataset = FieldSetSettings(
        name="tests.slides.test_annotated:by_hundreds",
        annotations=str(places[0]),
        images=str(places[1]),
        classes=("L1",),
        split=SplitSettings(train_fraction=0.5),
    )
    parts = sources(dataset, tmp_path / "cache")
    assert sorted(map(len, parts.values())) == [4, 4]
    for part in parts.values():
        assert len({file_of(name) for name in part.names}) == 1, "a slide is not divided"
        assert {measures.pixel_size for measures in part.measures} == {0.5}
        field = part.field(0)
        np.testing.assert_array_equal(field.image(), IMAGE[50:150, 50:150])
        (cell,) = field.cells
        drawn = np.zeros((SIDE, SIDE), np.uint8)
        cv2.rectangle(drawn, (10, 10), (29, 29), 1, cv2.FILLED)
        np.testing.assert_array_equal(cell.mask(SIDE, SIDE), drawn)
