"""What is said of annotations that no format recognises: what they are, and what to do instead."""

from wbcjax.smear.formats.checks import Fault, brief
from wbcjax.smear.formats.format import Place
from wbcjax.smear.formats.image_names import IMAGES


def unknown(place: Place) -> Fault:
    """The fault of a file or folder that is of no known format."""
    if place.xml_root:
        found = f"it holds <{place.xml_root}> where Pascal VOC has <annotation>"
        return Fault(found, "export the annotations as COCO, or name their format")
    return _folder(place) if place.is_folder else _file(place)


def _file(place: Place) -> Fault:
    files = place.files(IMAGES)
    if files:
        return _images(place)
    if place.json is not None:
        return Fault("it is JSON of no known format", "export it as COCO, or name its format")
    return Fault("it is of no known format", "export the annotations as COCO, or name their format")


def _folder(place: Place) -> Fault:
    if place.jsons:
        first = place.files({".json"})[0].name
        found = f"the folder holds *.json files, and none is of LabelMe (the first: {first})"
        return Fault(found, "name the file itself if it is of VIA or COCO")
    if place.files(IMAGES) and place.path.resolve() != place.images.resolve():
        return _images(place)
    inner = sorted(path.name for path in place.path.iterdir() if path.is_dir())
    remedy = f"correct its path{f' (it holds the folders {brief(inner)})' if inner else ''}"
    return Fault("the folder holds no annotations (*.xml, *.json, masks or label images)", remedy)


def _images(place: Place) -> Fault:
    files = place.files(IMAGES)
    labels, masks = place.named_after_images
    found = f"{labels} of its {len(files)} images are named after one of the image folder, as label images are, "
    found += f"and {masks} with _<number> added, as masks are"
    return Fault(found, f"say which they are, or correct the image folder {place.images}")
