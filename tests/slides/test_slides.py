"""Slides read by regions, against the same array cut by NumPy."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.slides.make import TILE, aperio, halves, ome_pyramid, pages_pyramid, picture
from wbcjax.slides.image_slide import ImageSlide
from wbcjax.slides.mended import DAMAGED, LEAST_SIDE, Mended, undamaged
from wbcjax.slides.open import is_slide, open_slide
from wbcjax.slides.slide import DamagedTile, Level, Slide, scaled
from wbcjax.slides.tiff_slide import KEPT, TiffSlide
from wbcjax.slides.tissue import find_tissue
from wbcjax.system.files import write_png

HEIGHT, WIDTH = 300, 421  # no multiples of a tile
LEVELS = halves(picture(HEIGHT, WIDTH), 3)


class Held(Slide):
    """Levels that are in memory."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.name, self.pixel_size, self._images = "held.tif", 0.0, images
        self.levels = tuple(Level(image.shape[1], image.shape[0]) for image in images)
        self.most = 0

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        found = self._images[level][y : y + height, x : x + width]
        assert found.shape[:2] == (height, width), "what is asked for lies in the level"
        self.most = max(self.most, width * height)
        return found


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    return {
        "ome": ome_pyramid(folder / "a.ome.tif", LEVELS),
        "pages": pages_pyramid(folder / "b.tif", LEVELS),
        "svs": aperio(folder / "c.svs", LEVELS),
    }


OPEN: list[Slide] = []


def opened(path: Path) -> Slide:
    OPEN.append(open_slide(path))
    return OPEN[-1]


@pytest.fixture(scope="module", autouse=True)
def closed_at_the_end():
    yield
    for slide in OPEN:
        slide.close()


@pytest.mark.parametrize("kind", ["ome", "pages"])
def test_every_level_is_found_and_read_to_the_pixel(files, kind):
    slide = opened(files[kind])
    assert isinstance(slide, TiffSlide)
    assert [(level.height, level.width) for level in slide.levels] == [image.shape[:2] for image in LEVELS]
    for number, image in enumerate(LEVELS):
        np.testing.assert_array_equal(slide.read(number, 0, 0, image.shape[1], image.shape[0]), image)


@given(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, WIDTH), st.integers(1, HEIGHT))
def test_a_region_is_the_same_cut_of_the_array(files, x, y, width, height):
    width, height = min(width, WIDTH - x), min(height, HEIGHT - y)
    with open_slide(files["ome"]) as slide:
        found = slide.region(x, y, width, height)
    np.testing.assert_array_equal(found, LEVELS[0][y : y + height, x : x + width])


def test_a_region_reads_the_tiles_that_it_touches_alone(files, monkeypatch):
    slide, decoded = opened(files["pages"]), []
    plain = TiffSlide._decoded
    monkeypatch.setattr(TiffSlide, "_decoded", lambda self, *of: decoded.append(of) or plain(self, *of))
    slide.region(TILE - 1, 0, 2, TILE)
    assert decoded == [(0, 0), (0, 1)]
    slide.region(0, 0, 2 * TILE, TILE)
    assert len(decoded) == 2, "tiles that were just decoded are kept"
    assert KEPT < 2**28


def test_pixel_sizes_are_those_that_ome_and_aperio_state(files):
    assert opened(files["ome"]).pixel_size == 0.25
    assert opened(files["svs"]).pixel_size == 0.2525
    assert opened(files["pages"]).pixel_size == 0.0


@pytest.mark.parametrize("colours", ["ycbcr", "rgb"])
def test_jpeg_tiles_have_the_colours_that_the_page_says(tmp_path, colours):
    """Aperio's scanners store either; the thumbnail, label and macro between the levels are none of them."""
    slide = opened(aperio(tmp_path / "a.svs", LEVELS, colours))
    assert [(level.height, level.width) for level in slide.levels] == [image.shape[:2] for image in LEVELS]
    difference = np.abs(slide.region(0, 0, WIDTH, HEIGHT).astype(int) - LEVELS[0])
    assert difference.mean() < 1.5


def test_tiffslide_reads_the_same_pixels_of_an_svs(files):
    tiffslide = pytest.importorskip("tiffslide")
    ours = opened(files["svs"])
    with tiffslide.TiffSlide(str(files["svs"])) as theirs:
        assert list(theirs.level_dimensions) == [tuple(level) for level in ours.levels]
        region = np.asarray(theirs.read_region((100, 90), 0, (150, 120)).convert("RGB")).astype(int)
    assert np.abs(region - ours.region(100, 90, 150, 120)).max() <= 3  # another JPEG decoder


def test_a_level_is_taken_at_its_own_scale_without_resampling(files):
    slide = opened(files["ome"])
    width, height = scaled(slide, 0.5)
    assert (height, width) == LEVELS[1].shape[:2]
    np.testing.assert_array_equal(slide.region(0, 0, width, height, 0.5), LEVELS[1])


@pytest.mark.parametrize(("scale", "level"), [(1.0, 0), (0.7, 0), (0.5, 1), (0.49, 1), (0.25, 2), (0.1, 2)])
def test_the_coarsest_level_that_is_fine_enough_is_taken(scale, level):
    assert Held(LEVELS).level_for(scale) == level


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_region_at_a_smaller_scale_is_the_mean_of_areas(factor):
    image = picture(60 * factor, 50 * factor, seed=1)
    found = Held([image]).region(7, 11, 30, 40, 1 / factor)
    theirs = cv2.resize(image, (50, 60), interpolation=cv2.INTER_AREA)[11:51, 7:37]
    assert np.abs(found.astype(int) - theirs).max() <= 1


@given(st.floats(0.05, 1.0), st.integers(1, 40), st.integers(1, 40))
def test_parts_that_are_read_apart_fit_together(scale, x, y):
    slide = Held(LEVELS)
    width, height = scaled(slide, scale)
    x, y = min(x, width - 1), min(y, height - 1)
    whole = slide.region(0, 0, width, height, scale)
    assert whole.shape == (height, width, 3)
    part = slide.region(x, y, width - x, height - y, scale)
    assert np.abs(part.astype(int) - whole[y:, x:]).max() <= 1, "but for rounding of sums"


def test_the_overview_of_a_slide_without_levels_holds_little_at_a_time():
    image = np.zeros((4000, 5000, 3), np.uint8)
    image[:, 2500:] = 200
    slide = Held([image])
    found = slide.region(0, 0, 50, 40, 0.01)
    assert slide.most <= 2**21 + 2**15
    assert (found[:, :25] == 0).all()
    assert (found[:, 25:] == 200).all()


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 5, 5), (WIDTH, 0, 5, 5), (0, HEIGHT, 5, 5)])
def test_a_region_off_the_slide_is_refused_by_name(region):
    with pytest.raises(ValueError, match=r"held\.tif: the region .* has no pixel on the slide"):
        Held(LEVELS).region(*region)
    with pytest.raises(ValueError, match="the scale is 2"):
        Held(LEVELS).region(0, 0, 1, 1, 2.0)


def test_tiles_that_a_file_leaves_out_are_bare_glass(tmp_path):
    path = pages_pyramid(tmp_path / "a.tif", LEVELS[:1])
    with tifffile.TiffFile(path, mode="r+") as tiff:
        page = tiff.pages.first
        counts = list(page.databytecounts)
        page.tags["TileByteCounts"].overwrite([0, *counts[1:]])
    found = opened(path).region(0, 0, TILE + 1, TILE)
    assert (found[:, :TILE] == 255).all()
    np.testing.assert_array_equal(found[:, TILE:], LEVELS[0][:TILE, TILE : TILE + 1])


def test_a_damaged_tile_is_told_by_file_and_number(tmp_path):
    path = pages_pyramid(tmp_path / "a.tif", LEVELS[:1])
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tif: tile 0 of level 0 cannot be decoded"):
        opened(path).region(0, 0, 5, 5)


def test_damaged_places_are_of_one_colour_and_the_rest_as_it_is(tmp_path):
    """Tile 5 is broken: x 320 to 384, y 0 to 64. The overview takes it for stained, so that it is looked at."""
    glass = np.full((200, WIDTH, 3), 230, np.uint8)
    path = pages_pyramid(tmp_path / "a.tif", [glass])
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        start = page.dataoffsets[5]
    data = bytearray(path.read_bytes())
    data[start : start + 8] = bytes(8)
    path.write_bytes(data)
    with open_slide(path) as slide:
        with pytest.raises(DamagedTile):
            slide.region(300, 30, 40, 40)
        found = Mended(slide).region(0, 0, WIDTH, 200)
        tissue = find_tissue(Mended(slide))
    damaged = (found == DAMAGED).all(axis=2)
    assert (undamaged(found) == 230).all()
    assert len(undamaged(found)) == (~damaged).sum()
    assert undamaged(found[:64, 330:340]).shape == (1, 1, 3), "nothing else is there"
    assert (found[~damaged] == 230).all()
    assert damaged[:64, 320:384].all()
    near = np.zeros_like(damaged)
    near[: 64 + LEAST_SIDE, 320 - LEAST_SIDE : 384 + LEAST_SIDE] = True
    assert not damaged[~near].any()
    assert tissue.mask[4:60, 324:380].all()
    assert not tissue.mask[:, :290].any()


def test_images_without_tiles_are_read_whole(tmp_path):
    write_png(tmp_path / "a.png", LEVELS[0])
    tifffile.imwrite(tmp_path / "b.tif", LEVELS[0], photometric="rgb")
    for name in ("a.png", "b.tif"):
        slide = opened(tmp_path / name)
        assert isinstance(slide, ImageSlide)
        np.testing.assert_array_equal(slide.region(30, 20, 100, 90), LEVELS[0][20:110, 30:130])


def test_files_are_slides_by_their_suffix_or_their_size(tmp_path, files):
    assert is_slide(files["svs"])
    assert not is_slide(files["ome"]), "an image, though it has levels"
    assert is_slide(files["ome"], max_pixels=HEIGHT * WIDTH - 1)
    write_png(tmp_path / "a.png", LEVELS[0])
    assert not is_slide(tmp_path / "a.png", max_pixels=1)


def test_what_no_library_reads_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "a.mrxs").write_bytes(b"no slide")
    with pytest.raises(ValueError, match=r"a\.mrxs: no slide that can be read .*wbcjax\[slides\]"):
        opened(tmp_path / "a.mrxs")


def test_sixteen_bits_are_refused_before_anything_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", LEVELS[0].astype(np.uint16), tile=(TILE, TILE), photometric="rgb")
    with pytest.raises(ValueError, match="uint16 a pixel"):
        TiffSlide(tmp_path / "a.tif")
    assert math.prod(opened(tmp_path / "a.tif").levels[0]) == HEIGHT * WIDTH, "as an image it is read"
