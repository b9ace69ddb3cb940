"""`wbcjax enhance`: its files, and its messages for images that it could not or did not change."""

import shlex

import cv2
import numpy as np
import pytest

from wbcjax import cli
from wbcjax.commands.enhance.folder import enhance_folder, read_unscaled
from wbcjax.enhance import METHODS, Enhancement, Stain, fit_stain, macenko
from wbcjax.settings.checked import read_text
from wbcjax.smear.synthetic import SyntheticSmear, render

RNG = np.random.default_rng(0)
DARK = RNG.integers(10, 90, (24, 32, 3)).astype(np.uint8)  # RGB
BRIGHT = RNG.integers(150, 250, (24, 32, 3)).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(exist_ok=True)
    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[2] if image.ndim == 3 else 2]
    assert cv2.imwrite(str(path), image if order is None else cv2.cvtColor(image, order))


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_written_as_the_method_makes_it(tmp_path, method, capsys):
    save(tmp_path / "images/a.png", DARK)
    cli.main(["enhance", str(tmp_path / "images/a.png"), "--method", method, "--out", str(tmp_path / "out")])
    np.testing.assert_array_equal(read_unscaled(tmp_path / "out/a.png"), METHODS[method](DARK))
    assert f"1 images are in {tmp_path / 'out'}" in capsys.readouterr().out


def test_sixteen_bits_and_alpha_stay(tmp_path):
    alpha = RNG.integers(0, 65536, (24, 32, 1)).astype(np.uint16)
    deep = np.concatenate([DARK.astype(np.uint16) * 257, alpha], axis=2)
    save(tmp_path / "images/a.png", deep)
    save(tmp_path / "images/grey.tif", deep[..., 0])
    cli.main(["enhance", str(tmp_path / "images"), "--method", "he", "--out", str(tmp_path / "out")])
    colours, grey = (read_unscaled(tmp_path / f"out/{name}.png") for name in ("a", "grey"))
    np.testing.assert_array_equal(colours, METHODS["he"](deep))
    np.testing.assert_array_equal(colours[..., 3:], alpha)
    np.testing.assert_array_equal(grey, METHODS["he"](np.ascontiguousarray(deep[..., 0])))
    assert grey.dtype == np.uint16


def test_white_may_be_less_than_the_depth_allows(tmp_path):
    twelve_bits = DARK.astype(np.uint16) * 16
    save(tmp_path / "images/a.tif", twelve_bits)
    cli.main(["enhance", str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--max-value", "4095"])
    expected = METHODS["eff"](twelve_bits, max_value=4095)
    np.testing.assert_array_equal(read_unscaled(tmp_path / "out/a.png"), expected)
    assert (expected != twelve_bits).any()


def test_images_that_the_method_leaves_alone_are_counted(tmp_path, capsys):
    save(tmp_path / "images/bright.png", BRIGHT)
    save(tmp_path / "images/dark.png", DARK)
    cli.main(["enhance", str(tmp_path / "images"), "--out", str(tmp_path / "out")])
    np.testing.assert_array_equal(read_unscaled(tmp_path / "out/bright.png"), BRIGHT)
    told = capsys.readouterr().out
    assert told.startswith("2 images are in")
    assert "eff left 1 of them as they were, having no under-exposed part (eff_minmax stretches" in told


def test_a_comparison_has_a_sheet_of_each_image(tmp_path):
    save(tmp_path / "images/a.png", DARK)
    cli.main(["enhance", str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--compare"])
    sheet = read_unscaled(tmp_path / "out/compare/a.png")
    assert sheet.shape[1] > 3 * 400, "three panels side by side"
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000, "pictures, not blank paper"


def test_a_stain_is_that_of_the_reference_and_told_as_flags_of_a_training(tmp_path, capsys):
    """The flags, given to a training, make a config that brings images to the same stain."""
    reference, smear = (render(SyntheticSmear(), seed).image() for seed in (1, 2))
    save(tmp_path / "reference.png", reference)
    save(tmp_path / "images/a.png", smear)
    flags = ["--method", "macenko", "--out", str(tmp_path / "out"), "--reference", str(tmp_path / "reference.png")]
    cli.main(["enhance", str(tmp_path / "images"), *flags])
    stain = fit_stain(reference)
    np.testing.assert_array_equal(read_unscaled(tmp_path / "out/a.png"), macenko(smear, stain=stain))
    told = shlex.split(capsys.readouterr().out.partition(": \\\n")[2].replace("\\\n", ""))
    values = {flag.partition("=")[0].rpartition(".")[2]: flag.partition("=")[2] for flag in told}
    assert Stain(**{name: read_text(tuple, value) for name, value in values.items()}) == stain


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "macenko"], r"grey\.png: the image has no two dyes that can be told apart: give a stained field"),
        (["--method", "he"], r"--reference is for --method reinhard and macenko, and for --compare: leave it out"),
    ],
)
def test_a_reference_that_cannot_serve_is_refused_before_anything_is_written(tmp_path, flags, message):
    save(tmp_path / "grey.png", DARK[..., 0])
    save(tmp_path / "images/a.png", DARK)
    places = ["--out", str(tmp_path / "out"), "--reference", str(tmp_path / "grey.png")]
    with pytest.raises(SystemExit, match=message):
        cli.main(["enhance", str(tmp_path / "images"), *flags, *places])
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_stops_no_other_and_fails_the_command(tmp_path):
    save(tmp_path / "images/a.png", DARK)
    (tmp_path / "images/broken.png").write_bytes(b"no image")
    save(tmp_path / "images/real.tif", DARK.astype(np.float32) / 255)
    with pytest.raises(SystemExit) as caught:
        cli.main(["enhance", str(tmp_path / "images"), "--out", str(tmp_path / "out")])
    lines = str(caught.value).split("\n  ")
    assert lines[0] == "wbcjax: 2 images could not be processed:"
    assert lines[1].endswith("broken.png: not an image that OpenCV can decode; replace the file or leave it out")
    assert lines[2].endswith("real.tif: has float32 pixels; save it with 8 or 16 bits a channel")
    assert (tmp_path / "out/a.png").exists()


@pytest.mark.parametrize("out", ["images", "images/../images"])
def test_images_are_never_written_over(tmp_path, out):
    save(tmp_path / "images/a.png", DARK)
    with pytest.raises(SystemExit, match="where the images lie: choose another folder"):
        cli.main(["enhance", str(tmp_path / "images"), "--out", str(tmp_path / out)])


@pytest.mark.parametrize("step", ["method", "sheet"])
def test_an_error_that_nobody_foresaw_leaves_out_its_image_and_no_other(tmp_path, monkeypatch, step):
    for name, value in (("a.png", 40), ("b.png", 41), ("c.png", 42)):
        save(tmp_path / "images" / name, np.full((8, 8), value, np.uint8))

    def break_b(image, *others, **named):
        if image[0, 0] == 41:
            raise MemoryError
        return image

    if step == "method":
        monkeypatch.setitem(METHODS, "he", break_b)
    else:
        monkeypatch.setattr("wbcjax.commands.enhance.folder.comparison_sheet", break_b)
    outcome = enhance_folder(tmp_path / "images", Enhancement("he"), tmp_path / "out", compare=step == "sheet")
    assert outcome.failed == [f"{tmp_path}/images/b.png: MemoryError: "]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "c.png"]
    assert outcome.enhanced == 2


def test_images_that_are_not_read_are_counted_and_named(tmp_path, capsys):
    for name in ("a.png", "a_cp_masks.png"):
        save(tmp_path / "images" / name, DARK)
    for name in ("b.svs", "c.heic"):
        (tmp_path / "images" / name).write_bytes(b"?")
    with pytest.raises(SystemExit) as caught:
        cli.main(["enhance", str(tmp_path / "images"), "--out", str(tmp_path / "out")])
    first, *lines = str(caught.value.code).split("\n  ")
    assert first == "wbcjax: 3 images could not be processed:"
    assert [line.rpartition("/")[2].partition(":")[0] for line in lines] == ["a_cp_masks.png", "b.svs", "c.heic"]
    assert "1 images are in" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_folder_of_images_that_are_not_read_names_them(tmp_path):
    (tmp_path / "b.svs").write_bytes(b"?")
    with pytest.raises(FileNotFoundError, match=r"no image there.*\n.*b\.svs: \.svs files are not read; export"):
        enhance_folder(tmp_path, Enhancement("he"), tmp_path / "out")
