"""The formats of annotations that are read and written, in the order in which they are listed."""

from wbcjax.smear.formats import (
    coco,
    cvat,
    geojson,
    imagej_rois,
    label_images,
    label_studio,
    labelme,
    mask_folders,
    via,
    voc,
    xyc,
    yolo,
)
from wbcjax.smear.formats.format import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        *(via, coco, labelme, cvat, label_studio, yolo, label_images, mask_folders, voc, geojson, imagej_rois),
        xyc,
    )
}
