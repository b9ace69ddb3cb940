"""VIA annotations exported as CSV, turned into the entries of VIA 1.x that `wbcjax.smear.formats.via` reads.

1.x and 2.x: a row for each region, with the columns COLUMNS, of which three hold JSON objects; a file without regions
has one row without shape. 3.x: comment lines, of which one holds the attributes, then a row for each item of the
project's metadata. An export of 3.x leaves out files without regions: only the project file lists them.
"""

import csv
from pathlib import Path
from typing import Any

from wbcjax.smear.formats import checks, via3
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.load import load_text, parse_json

COLUMNS = (
    "filename",
    "file_size",
    "file_attributes",
    "region_count",
    "region_id",
    "region_shape_attributes",
    "region_attributes",
)
COLUMNS_3 = ("metadata_id", "file_list", "flags", "temporal_coordinates", "spatial_coordinates", "metadata")
COMMENT, ATTRIBUTES = "# ", "# ATTRIBUTE = "  # 3.x


def is_csv(annotations: Path) -> bool:
    """Whether a file is a CSV export, by the end of its name."""
    return annotations.suffix.lower() == ".csv"


def entries(reading: Reading) -> dict[str, Any]:
    """One entry of VIA 1.x for each file named in the export, its regions by the line they stand in."""
    lines = load_text(reading.annotations).split("\n")
    rows = _rows(lines)
    for line in lines:
        if line.startswith(ATTRIBUTES):
            return via3.entries(reading, _project(reading, _json(line.removeprefix(ATTRIBUTES), dict), rows))
    return _entries(reading, rows)


def _rows(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The rows and where they stand, such as "line 7"."""
    reader = csv.reader("" if line.startswith(COMMENT) else line for line in lines)
    try:
        return [(f"line {reader.line_num}", row) for row in reader if row]
    except csv.Error as error:
        raise Fault(f"broken CSV ({error})", "export the annotations again") from error


def _entries(reading: Reading, rows: list[tuple[str, list[str]]]) -> dict[str, Any]:
    header = rows[0][1] if rows else []
    if tuple(name.strip("# ") for name in header) != COLUMNS:  # 1.0 begins with "#filename"
        raise Fault(f"its first line is {checks.brief(','.join(header))}", f"it must be {','.join(COLUMNS)}")
    found: dict[str, Any] = {}
    for where, row in rows[1:]:
        with reading.at(reading.annotations.name, where):
            _add(found, where, _named(row, COLUMNS))
    for entry in found.values():
        told, count = entry["region_count"], len(entry["regions"])
        if told != str(count):
            what = f"region_count is {told}, the regions are {count}"
            reading.suspect(entry["filename"], "", what, "check that no row was lost or added")
    return found


def _add(found: dict[str, Any], where: str, row: dict[str, str]) -> None:
    size = row["file_size"].strip()
    entry = {
        "filename": row["filename"],
        "size": int(size) if size.isdecimal() and len(size) < 20 else -1,  # bytes
        "file_attributes": _json(row["file_attributes"], dict),
        "region_count": row["region_count"].strip(),
        "regions": {},
    }
    key = row["filename"] if entry["size"] < 0 else f"{row['filename']} of {entry['size']} bytes"  # of one image alone
    given = entry["file_attributes"]
    entry = found.setdefault(key, entry)
    if given != entry["file_attributes"]:
        told = f"its file attributes are {checks.brief(given)}, and {checks.brief(entry['file_attributes'])} before"
        raise Fault(told, "give the image one value of each")
    shape, attributes = _json(row["region_shape_attributes"], dict), _json(row["region_attributes"], dict)
    if shape or attributes:  # a file without regions has a row without both
        entry["regions"][f"on {where}"] = {"shape_attributes": shape, "region_attributes": attributes}


def _project(reading: Reading, attributes: dict[str, Any], rows: list[tuple[str, list[str]]]) -> dict[str, Any]:
    """The project that an export of 3.x describes; views and files are named by their entry in the file list."""
    files, views, metadata = {}, {}, {}
    for where, row in rows:
        with reading.at(reading.annotations.name, where):
            item = _named(row, COLUMNS_3)
            names = _json(item["file_list"], list)
            files |= {str(name): {"fname": name} for name in names}
            views[item["file_list"]] = {"fid_list": names}
            item_id = item["metadata_id"]
            if item_id in metadata:
                item_id = f"on {where}"
                told = "its metadata id is that of another row too"
                reading.often(reading.annotations.name, where, told, "none, as nothing uses it")
            metadata[item_id] = {
                "vid": item["file_list"],
                "z": _json(item["temporal_coordinates"], list),
                "xy": _json(item["spatial_coordinates"], list),
                "av": _json(item["metadata"], dict),
            }
    return {"attribute": attributes, "file": files, "view": views, "metadata": metadata}


def _named(row: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    if len(row) != len(columns):
        remedy = f"it must have {','.join(columns)}, each in quotes if it has a comma inside"
        raise Fault(f"the row has {len(row)} columns", remedy)
    return dict(zip(columns, row, strict=True))


def _json(text: str, kind: type) -> Any:
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise Fault(f"found {checks.brief(text)} where JSON belongs ({error})", "export it again") from error
    if not isinstance(value, kind):
        raise Fault(f"found {checks.brief(text)}", f"it must be a JSON {kind.__name__}")
    return value
