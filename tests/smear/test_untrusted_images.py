"""Image files that claim too much, are something else, or never end: refused by name before they are decoded."""

import base64
import contextlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz import image_samples
from tests.fuzz.mutate import mutated_bytes
from tests.fuzz.sandbox import watch
from tests.smear.make import HEIGHT, WIDTH, entry, image_folder, problems, region
from wbcjax.smear import image_header
from wbcjax.smear.decode import decode_stored
from wbcjax.smear.field import decode_image, read_image
from wbcjax.smear.formats.mask_files import read_values
from wbcjax.smear.image_header import MAX_PIXELS, claimed_size, image_bytes
from wbcjax.smear.read import read

SIZES = [(40, 30), (1, 1), (257, 513), (7, 300)]  # width, height


def png(width: int, height: int, data: bytes = b"", length: int | None = None) -> bytes:
    """A grey PNG that claims a size, whatever its data; its first chunk of data may claim a length, too."""

    def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
        told = len(content) if length is None else length
        return struct.pack(">I", told) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data), length) + chunk(b"IEND", b"")


def tiff(*pages: tuple[int, int], tile: int = 0, order: str = "<") -> bytes:
    """A TIFF of nothing but directories that claim sizes (width, height)."""
    found, place = b"", 8
    for number, (width, height) in enumerate(pages, start=1):
        sides = [(256, width), (257, height), *([(322, tile), (323, tile)] if tile else [])]
        entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, side) for tag, side in sides)
        place += 2 + len(entries) + 4
        found += struct.pack(f"{order}H", len(sides)) + entries
        found += struct.pack(f"{order}I", place if number < len(pages) else 0)
    return struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8) + found


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims a size."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def webp(width: int, height: int) -> bytes:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + sides


def jpeg2000(width: int, height: int) -> bytes:
    """A JPEG 2000 whose boxes claim 8 x 8 pixels, and its codestream others."""
    image = cv2.imencode(".jp2", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    data = bytearray(image)
    struct.pack_into(">II", data, data.index(b"\xff\x4f\xff\x51") + 8, width, height)
    return bytes(data)


BOMBS = {
    "png": png(30_000, 30_000),
    "png, past the counters": png(2**31 - 1, 2**31 - 1),
    "tiff": tiff((30_000, 30_000)),
    "tiff, big-endian": tiff((30_000, 30_000), order=">"),
    "tiff, second page": tiff((8, 8), (30_000, 30_000)),
    "tiff, tile": tiff((8, 8), tile=2**15),
    "jpeg": jpeg(65_000, 65_000),
    "bmp": bmp(30_000, 30_000),
    "bmp, from the top": bmp(30_000, -30_000),
    "webp": webp(2**24, 2**7),
    "jpeg 2000": jpeg2000(30_000, 30_000),
    "gif": b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + b"\0" * 20,
    "netpbm": b"P5 # a comment\n30000\n#another\n30000 255 ",
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_an_image_that_claims_more_pixels_than_allowed_is_refused_undecoded(tmp_path, monkeypatch, data):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"bomb\.png: claims \d+ x \d+ pixels, and {MAX_PIXELS} are allowed; .*limit"):
        read_image(path)


def test_the_pixel_limit_counts_to_the_pixel(tmp_path):
    """A slide of 20000 by 20000 pixels is allowed and the limit counts to the pixel."""
    path = tmp_path / "slide.png"
    path.write_bytes(png(20_000, 20_000))
    image_bytes(path)
    path.write_bytes(png(40, 30, b"\0" * 41 * 30))
    assert read_image(path, 1200).shape == (30, 40, 3)
    with pytest.raises(ValueError, match="claims 40 x 30 pixels, and 1199 are allowed"):
        read_image(path, 1199)


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 10_000])
def test_an_overlong_png_chunk_is_refused_undecoded(tmp_path, length):
    """A png chunk that claims more than the file is refused before room is made for it."""
    path = tmp_path / "a.png"
    path.write_bytes(png(12, 10, b"\0" * 130, length))
    with pytest.raises(ValueError, match=r"a\.png: not an image that OpenCV can decode"):
        read_image(path)


def test_an_endless_row_of_png_chunks_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(image_header, "_CHUNKS", 100)
    data = png(12, 10, b"\0" * 130)
    padding = (struct.pack(">I", 0) + b"teXt" + b"\0" * 4) * 200
    assert claimed_size(data) == (12, 10)
    assert claimed_size(data[:33] + padding + data[33:]) is None


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"no image", b"BM", b"II*\0\xff\xff\xff\xff", b"\xff\xd8\xff" * 9, b"P6"]
)
def test_what_is_no_image_is_refused_by_its_name(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: not an image that OpenCV can decode; replace the file or leave it"):
        read_image(tmp_path / "a.png")


def drawn_by_pillow() -> list[tuple[str, dict, str]]:
    plain = [(name, {}, mode) for name in ("PNG", "BMP", "GIF", "PPM") for mode in ("RGB", "L", "1")]
    plain += [(name, {}, mode) for name in ("TIFF", "JPEG") for mode in ("RGB", "L", "CMYK")]
    special = [("TIFF", {"big_tiff": True}, "RGB"), ("TIFF", {"compression": "tiff_lzw"}, "RGB")]
    special += [("JPEG", {"progressive": True, "comment": b"\xff\xc0" * 20_000}, "RGB"), ("PNG", {}, "RGBA")]
    special += [("WEBP", {"lossless": lossless}, mode) for lossless in (True, False) for mode in ("RGB", "RGBA")]
    return [*plain, *special, ("JPEG2000", {}, "RGB"), ("JPEG2000", {"no_jp2": True}, "RGB")]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_claimed_sizes_are_those_that_pillow_wrote(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    for name, options, mode in drawn_by_pillow():
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, name, **options)
        assert claimed_size(file.getvalue()) == size, (name, options, mode)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".webp", ".ppm"])
@pytest.mark.parametrize("size", SIZES[:3:2], ids=str)
def test_claimed_sizes_are_those_that_opencv_decodes(suffix, size):
    data = cv2.imencode(suffix, np.zeros((size[1], size[0], 3), np.uint8))[1].tobytes()
    assert claimed_size(data) == size
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape[1::-1] == size


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_channel_more_or_wider_changes_nothing_of_the_size(kind):
    for suffix in (".png", ".tif"):
        data = cv2.imencode(suffix, np.zeros((30, 40, 4), kind))[1].tobytes()
        assert claimed_size(data) == (40, 30)


SAMPLES = [BOMBS["tiff"], BOMBS["jpeg 2000"], *(png(12, 10), jpeg(12, 10), webp(12, 10), bmp(12, 10))]


@settings(max_examples=300)
@given(data=st.data())
def test_no_header_raises_or_takes_long(data):
    def choose(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    size = claimed_size(mutated_bytes(data.draw(st.sampled_from(SAMPLES)), choose))
    assert size is None or len(size) == 2


@settings(max_examples=300)
@given(data=st.data())
def test_changed_image_files_are_decoded_or_refused(data):
    def choose(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    content = mutated_bytes(data.draw(st.sampled_from(image_samples.IMAGES + image_samples.STRANGE_IMAGES)), choose)
    for decode in (decode_image, decode_stored):
        with contextlib.suppress(ValueError):
            decode(content, "a.tif", 2**14)


def test_a_broken_image_writes_nothing_to_the_terminal(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp", ".jp2"):
        data = cv2.imencode(suffix, image)[1].tobytes()
        (tmp_path / f"a{suffix}").write_bytes(data[: len(data) // 2])
        (tmp_path / f"b{suffix}").write_bytes(data[: len(data) // 2] + b"\xff" * 6 + data[len(data) // 2 + 6 :])
    code = """if True:
        import sys, pathlib
        from wbcjax.smear.field import read_image
        for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
            try:
                read_image(path)
            except ValueError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.count("not an image") >= 6
    raw = [line for line in done.stderr.splitlines() if not line.startswith("Corrupt JPEG data")]
    assert raw == []


# ------------------------------------------------------------------------------------------------- what is no file


@pytest.fixture
def place(tmp_path):
    image_folder(tmp_path / "images", "a.png", "b.png")
    return tmp_path


def strange_files(folder: Path) -> dict[str, str]:
    """Things that lie in a folder under an image's name, and what is said of them."""
    os.mkfifo(folder / "fifo.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nothing")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(folder / "socket.png"))
    return {
        "fifo.png": "no regular file",
        "zero.png": "no regular file",
        "loop.png": "symbolic links",
        "gone.png": "No such file",
        "socket.png": "No such device",
    }


def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch):
    """A pipe a device a socket and a dead link are refused at once."""
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    for name, told in strange_files(tmp_path).items():
        with watch(tmp_path), pytest.raises(OSError, match=told):
            read_image(tmp_path / name)


def test_annotations_naming_no_file_are_refused(place, monkeypatch):
    """Annotations that name a pipe a device or a folder are refused at once."""
    monkeypatch.chdir(place)
    strange = strange_files(place / "images")
    (place / "images/folder.png").mkdir()
    names = [*strange, "folder.png", "."]
    (place / "set.json").write_text(json.dumps({name: entry(name, region()) for name in names}))
    with watch(place):
        lines = problems(place / "set.json", place / "images")
    assert [line.partition(":")[0] for line in lines] == names


@pytest.mark.parametrize("name", ["set.json", "set.csv", "set.png", "set.xml"])
def test_annotations_that_are_a_pipe_are_refused_at_once(place, name):
    os.mkfifo(place / name)
    for file_format in ("via", "coco", "labelme", "voc", "label_images", "mask_folders"):
        with watch(place):
            assert problems(place / name, place / "images", file_format=file_format)


def test_pipes_in_folders_of_annotations_are_refused_at_once(place):
    for kind, name in (("labelme", "a.json"), ("voc", "a.xml"), ("label_images", "a.png"), ("mask_folders", "a_1.png")):
        (place / kind).mkdir()
        os.mkfifo(place / kind / name)
        with watch(place):
            assert "no regular file" in problems(place / kind, place / "images", None, file_format=kind)[0]


# ---------------------------------------------------------------------------------------------------- through readers


def test_the_limit_of_a_set_holds_for_images_and_is_told_for_each(place):
    (place / "set.json").write_text(json.dumps({name: entry(name, region()) for name in ("a.png", "b.png")}))
    limit = HEIGHT * WIDTH
    assert len(read(place / "set.json", place / "images", max_pixels=limit).fields) == 2
    lines = problems(place / "set.json", place / "images", max_pixels=limit - 1)
    assert [line.partition(":")[0] for line in lines] == ["a.png", "b.png"]
    assert all(f"claims 40 x 30 pixels, and {limit - 1} are allowed" in line for line in lines)


def test_a_field_keeps_the_limit_it_was_read_with(place):
    (place / "set.json").write_text(json.dumps({"a.png": entry("a.png", region())}))
    (field,) = read(place / "set.json", place / "images", max_pixels=HEIGHT * WIDTH).fields
    cv2.imwrite(str(place / "images/a.png"), np.zeros((HEIGHT + 1, WIDTH), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: claims 40 x 31 pixels, and 1200 are allowed"):
        field.image()


def test_an_image_that_changes_its_size_after_the_annotations_were_read_is_refused(place):
    (place / "set.json").write_text(json.dumps({"a.png": entry("a.png", region())}))
    (field,) = read(place / "set.json", place / "images").fields
    cv2.imwrite(str(place / "images/a.png"), np.zeros((WIDTH, HEIGHT), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: has 30 x 40 pixels, and had 40 x 30 when its annotations were read"):
        field.image()


@pytest.mark.parametrize(("kind", "name"), [("label_images", "a.png"), ("mask_folders", "a_1.png")])
def test_a_bomb_in_the_place_of_a_mask_is_refused_by_its_image(place, kind, name):
    (place / kind).mkdir()
    (place / kind / name).write_bytes(BOMBS["png"])
    (line,) = problems(place / kind, place / "images", None, file_format=kind)
    assert line.startswith("a.png")
    assert "claims 30000 x 30000 pixels" in line


def test_a_stack_of_pages_is_not_decoded_to_its_end(tmp_path):
    cv2.imwritemulti(str(tmp_path / "a.tif"), [np.zeros((30, 40), np.uint8)] * 50)
    with pytest.raises(Exception, match="is a stack of 50 x 30 x 40"):
        read_values(tmp_path / "a.tif", "the mask", 1200)


@pytest.mark.parametrize("mask", [BOMBS["png"], png(20_000, 20_000), png(60, 60)])
def test_a_labelme_mask_beyond_its_image_is_refused(place, monkeypatch, mask):
    """A mask in a labelme file that is larger than its image is refused."""
    shape = {"label": "L1", "shape_type": "mask", "points": [[0, 0], [39, 29]], "mask": base64.b64encode(mask).decode()}
    content = {"imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [shape]}
    (place / "set").mkdir()
    (place / "set/a.json").write_text(json.dumps(content))
    (line,) = problems(place / "set", place / "images")
    assert line.startswith('a.png, shape 1: "mask" is no PNG in base64, or larger than its image')
