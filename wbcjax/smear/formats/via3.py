"""VIA 3.x projects, turned into the entries of VIA 1.x that `wbcjax.smear.formats.via` reads.

Format: CodeDoc.md of https://gitlab.com/vgg/via. "metadata" maps an id to {"vid", "z", "xy", "av"}: the view (whose one
file is the image), the time (of videos), the shape [shape id, coordinates ...], and the values by attribute id. With an
empty "xy" they are values of the whole file. What a value means stands in "attribute", by the attribute's type.
"""

from itertools import islice
from typing import Any

from wbcjax.smear.formats import checks
from wbcjax.smear.formats.checks import Fault, Reading

SHAPES = {  # by shape id; one of 8 is drawn by a point on each side, one of 9 by three points on the circle
    1: "point",
    2: "rect",
    3: "circle",
    4: "ellipse",
    5: "line",
    6: "polyline",
    7: "polygon",
    8: "extreme rectangle",
    9: "extreme circle",
}
MEASURES = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
TEXT, CHECKBOX = 1, 2  # attribute types; the others choose one option


def is_project(data: Any) -> bool:
    """Whether JSON content is of a VIA 3.x project."""
    return isinstance(data, dict) and {"attribute", "file", "view", "metadata"} <= data.keys()


def entries(reading: Reading, project: dict[str, Any]) -> dict[str, Any]:
    """One entry of VIA 1.x for each file of the project, by file id, its regions by metadata id."""
    attributes, files, views, metadata = (
        checks.need(project, key, dict) for key in ("attribute", "file", "view", "metadata")
    )
    found: dict[str, Any] = {}
    for file_id, file in files.items():
        with reading.at(reading.annotations.name, f"file {file_id}", "field"):
            found[file_id] = {"filename": checks.need(file, "fname", str), "regions": {}, "file_attributes": {}}
    for item_id, item in metadata.items():
        entry = None
        with reading.at(reading.annotations.name, f"metadata {item_id}"):
            entry = found[_file_id(item, views, found)]
        if entry is not None:
            with reading.at(entry["filename"], f"region {item_id}"):
                _add(entry, item_id, item, attributes)
    return found


def _file_id(item: Any, views: dict[str, Any], found: dict[str, Any]) -> str:
    view_id = str(checks.need(item, "vid", (str, int)))
    if view_id not in views:
        raise Fault(f"its view {checks.brief(view_id)} is not in the project", "delete it or restore the view")
    file_ids = checks.need(views[view_id], "fid_list", list)
    if len(file_ids) != 1:
        raise Fault(
            f"its view {checks.brief(view_id)} shows {len(file_ids)} files, so its image is not known",
            "show one a view",
        )
    if str(file_ids[0]) not in found:
        raise Fault(f"its file {checks.brief(file_ids[0])} is not in the project", "delete it or restore the file")
    return str(file_ids[0])


def _add(entry: dict[str, Any], item_id: str, item: dict[str, Any], attributes: dict[str, Any]) -> None:
    if item.get("z"):
        raise Fault(f"it is of a moment in a video or sound ({checks.brief(item['z'])})", "annotate single images")
    values = {}
    for attribute_id, value in checks.need(item, "av", dict).items():
        if attribute_id not in attributes:
            raise Fault(f"its attribute {attribute_id!r} is not in the project", "delete it or restore the attribute")
        attribute = checks.need(attributes, attribute_id, dict)
        name, meaning = checks.need(attribute, "aname", str), _meaning(attribute, value)
        if values.get(name, meaning) != meaning:
            raise Fault(f"two attributes are named {checks.brief(name)}, and it has both", "name them apart")
        values[name] = meaning
    xy = checks.need(item, "xy", list)
    if xy:
        entry["regions"][item_id] = {"shape_attributes": _shape(xy), "region_attributes": values}
    else:
        _add_file_attributes(entry["file_attributes"], values)


def _add_file_attributes(known: dict[str, Any], values: dict[str, Any]) -> None:
    for name, value in values.items():
        if known.setdefault(name, value) != value:
            before = checks.brief(known[name])
            found = f"the file attribute {checks.brief(name)} is {checks.brief(value)}, and {before} before"
            raise Fault(found, "give it one value")


def _meaning(attribute: dict[str, Any], value: Any) -> Any:
    """The text that a value stands for, or {option: True, ...} of a checkbox."""
    kind = checks.need(attribute, "type", int)
    if kind == TEXT or value == "" or not isinstance(value, str):
        return value
    options = checks.need(attribute, "options", dict)
    chosen = value.split(",") if kind == CHECKBOX else [value]
    for option_id in chosen:
        if option_id not in options:
            known = ", ".join(map(checks.brief, islice(options, 20)))
            raise Fault(
                f"the attribute {checks.brief(attribute['aname'])} is option {checks.brief(option_id)}, and has the "
                f"options {known}",
                "choose it anew in VIA",
            )
    return {str(options[option_id]): True for option_id in chosen} if kind == CHECKBOX else options[value]


def _shape(xy: list[Any]) -> dict[str, Any]:
    """The shape attributes of VIA 1.x; names that it has not, for the reader to refuse."""
    shape_id, *values = xy
    name = SHAPES.get(shape_id) if isinstance(shape_id, int) else None
    xs, ys = values[0::2], values[1::2]
    if name in MEASURES:
        if len(values) != len(MEASURES[name]):
            raise Fault(f'its "xy" is {checks.brief(xy)}', f"a {name} is [{shape_id}, {', '.join(MEASURES[name])}]")
        return {"name": name, **dict(zip(MEASURES[name], values, strict=True))}
    if name == "extreme rectangle" and xs:
        left, top = checks.polygon_points(xs, ys).min(axis=0)
        right, bottom = checks.polygon_points(xs, ys).max(axis=0)
        return {"name": "rect", "x": left, "y": top, "width": right - left, "height": bottom - top}
    return {"name": name or f"unknown ({checks.brief(shape_id)})", "all_points_x": xs, "all_points_y": ys}
