"""What lies in a folder of images: images, the files that cellpose writes beside them, and images that are not read."""

import re
from collections.abc import Callable, Collection
from pathlib import Path

from wbcjax.smear.formats.image_names import IMAGES, images_of
from wbcjax.system.files import open_regular

# Of images that no reader here decodes: slide scanners', microscopes', phones' and cameras', hospitals', and others
UNREAD = re.compile(
    r"\.(svs|ndpis?|mrxs|scn|vm[su]|vsi|bif|isyntax|czi|zvi|lsm|lif|nd2|oib|oi[fr]|dv|ims|stk|hei[cf]|avif|jxl|gif|raw|dng"
    r"|cr[23]|nef|arw|orf|rw2|raf|pef|dcm|dicom|psd|xcf|j2k|jp[xf]|jxr|wdp|jfif|jpe|p[bgpn]m|pam|tga|exr|hdr|svg|mrc|fits"
    "|nii)",
    re.IGNORECASE,
)
# Of them those that `wbcjax.slides` reads by regions; of a slide in several files, the one to open
SCANNERS = re.compile(r"\.(svs|ndpi|mrxs|scn|vm[su]|bif)", re.IGNORECASE)
MAGIC = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|II[*+]\0|MM\0[*+]|GIF8[79]a|RIFF....WEBP|....ftyp(heic|heix|mif1|avif)", re.DOTALL
)
LABELS = IMAGES | {".npy"}
# What a label file's name has beside its image's, and what cellpose writes beside an image:
# https://cellpose.readthedocs.io/en/latest/outputs.html
LABEL_WORD = re.compile("[_-](cp_masks|masks?|labels?|seg)(?=[_-]|$)", re.IGNORECASE)
MASKS = re.compile("(?P<image>.+?)_((cp_)?masks|seg)")
OUTPUT = re.compile("(?P<image>.+?)_((cp_)?(masks|flows|outlines|output)|seg|flows_cp_masks)")


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder, and the image files beside them that cellpose wrote: masks, flows, outlines."""
    found = images_of(folder)
    stems = {path.stem for path in found}
    outputs = {path for path in found if _is_named(OUTPUT, path, stems)}
    return [path for path in found if path not in outputs], sorted(outputs)


def unread_images(folder: Path) -> list[Path]:
    """The files of a folder that are images by their suffix or their first bytes, and that `image_files` leaves out."""
    others = (path for path in folder.iterdir() if path.suffix.lower() not in IMAGES and not path.name.startswith("."))
    return sorted(path for path in others if path.is_file() and (UNREAD.fullmatch(path.suffix) or _is_image(path)))


def of_unread(path: Path) -> tuple[str, str]:
    """What is said of an image that is not read, and the remedy."""
    kind = f"{path.suffix} files are not read" if path.suffix else "a file without a suffix is not read"
    remedy = "export the image, or a region of the slide, as TIFF or PNG"
    alone = ", or search it by itself: wbcjax predict RUN SLIDE" if SCANNERS.fullmatch(path.suffix) else ""
    return kind, remedy + alone


def label_stem(stem: str, is_image: Callable[[str], bool], beside: bool = False) -> str:
    """The name without suffix of a label file's image: the same, or without a word such as "_mask".

    `is_image` says whether there is an image of this name. With `beside`, that is in the file's own folder, the file
    itself is none.
    """
    plain = LABEL_WORD.sub("", stem, count=1)
    names = [stem, plain, f"{plain}_img"]  # the last as cellpose's own set has them
    return next(filter(is_image, names[1:] if beside else names), stem)


def masks_beside(files: Collection[Path], folder: Path) -> list[Path]:
    """Those of a folder's files that hold the masks of an image beside them, by cellpose's names."""
    stems = {path.stem for path in images_of(folder)}
    return [file for file in files if _is_named(MASKS, file, stems)]


def _is_named(pattern: re.Pattern[str], file: Path, stems: Collection[str]) -> bool:
    match = pattern.fullmatch(file.stem)
    return match is not None and any(name in stems for name in (match["image"], f"{match['image']}_img"))


def _is_image(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return MAGIC.match(file.read(16)) is not None
    except OSError:
        return False
