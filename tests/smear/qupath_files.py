"""Files of the shapes that QuPath writes, by hand, from what its documentation and its source say (see `geojson`)."""

import json
from pathlib import Path
from typing import Any

SQUARE = [[5, 4], [15, 4], [15, 12], [5, 12], [5, 4]]  # closed, as QuPath writes rings
HOLE = [[8, 6], [8, 9], [12, 9], [12, 6], [8, 6]]


def polygon(*rings: list) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings or [SQUARE])}


def feature(geometry: Any = None, name: str | None = "L1", **properties: Any) -> dict[str, Any]:
    """A Feature as QuPath 0.5 and 0.6 write it; `name` is that of its class."""
    classification = {} if name is None else {"classification": {"name": name, "color": [255, 225, 25]}}
    return {
        "type": "Feature",
        "id": "9fe79dec-ccfd-40ed-ae46-4dfedd7a5c13",
        "geometry": polygon() if geometry is None else geometry,
        "properties": {"objectType": "annotation"} | classification | properties,
    }


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def put(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


# As QuPath 0.5 writes the result of a cell detection in an annotation, and what was drawn and classified beside it. The
# measurements of a cell that has none are NaN, which gson writes as such.
OF_0_5 = """{"type": "FeatureCollection", "features": [
{"type": "Feature", "id": "00f0d9a2-1e9a-4bb0-8d1c-0c9b5b0f2a10",
 "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [40, 0], [40, 30], [0, 30], [0, 0]]]},
 "properties": {"objectType": "annotation", "isLocked": true}},
{"type": "Feature", "id": "5d0b1f5e-93a3-4a0c-a7b1-3b6a3a0b1c11",
 "geometry": {"type": "Polygon", "coordinates": [[[5, 4], [15, 4], [15, 12], [5, 12], [5, 4]]]},
 "nucleusGeometry": {"type": "Polygon", "coordinates": [[[8, 6], [12, 6], [12, 9], [8, 9], [8, 6]]]},
 "properties": {"objectType": "cell", "classification": {"names": ["Tumor", "Positive"], "color": [200, 0, 0]},
  "isLocked": false, "measurements": {"Cell: Area": 80.0, "Nucleus: Eccentricity": NaN}}},
{"type": "Feature", "id": "2c9a4f0e-0d7c-4f6f-8a55-6a1f0f1c2d12",
 "geometry": {"type": "MultiPolygon", "coordinates": [[[[20, 4], [26, 4], [26, 10], [20, 10], [20, 4]],
  [[22, 6], [22, 8], [24, 8], [24, 6], [22, 6]]], [[[30, 20], [34, 20], [34, 24], [30, 24], [30, 20]]]]},
 "properties": {"objectType": "detection", "name": "Lymphoblast 3", "color": [255, 0, 0],
  "classification": {"name": "L1", "color": [255, 225, 25]}, "metadata": {"note": "checked"}}},
{"type": "Feature", "id": "7e1d3c2b-5a64-4a53-9a39-1d3c5b7f9e13",
 "geometry": {"type": "Polygon", "coordinates": [[[30, 10], [29.7, 11.2], [28, 12], [26.3, 11.2], [26, 10],
  [26.3, 8.8], [28, 8], [29.7, 8.8], [30, 10]]], "isEllipse": true},
 "properties": {"objectType": "annotation", "classification": {"name": "L1", "color": [255, 225, 25]}}}
]}"""
