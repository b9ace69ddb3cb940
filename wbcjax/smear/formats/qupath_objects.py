"""The objects in a file of QuPath's GeoJSON: plain, gzipped or zipped, a FeatureCollection, a list, or one Feature."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wbcjax.smear.formats import checks
from wbcjax.smear.formats.checks import Fault
from wbcjax.smear.formats.load import MAX_BYTES, load_bytes, parse_json
from wbcjax.smear.formats.zipped import Zipped

GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
OLD_TYPES = {  # QuPath 0.2 wrote the type of an object as its id
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
    "PathRootObject": "root",
}
GZIP = b"\x1f\x8b"  # the first bytes of such a file
AGAIN = "export the annotations again or restore the file"


class QuPathObject(NamedTuple):
    """An object of QuPath as it stands in its file."""

    place: str  # "object 3"
    feature: Any

    @property
    def properties(self) -> dict[str, Any]:
        """{} where there are none, or none that can be used."""
        found = self.feature.get("properties") if isinstance(self.feature, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def kind(self) -> str:
        """Such as "annotation"; "" where it is not said."""
        said = self.properties.get("objectType") or self.properties.get("object_type")  # the latter in QuPath 0.3
        said = said or OLD_TYPES.get(str(self.feature.get("id")) if isinstance(self.feature, dict) else "")
        return said if isinstance(said, str) else ""


def objects_of(file: Path) -> list[QuPathObject]:
    """The objects of a file, also those within others. Faults: broken, or no GeoJSON."""
    waiting = [feature for document in _documents(file) for feature in _features(document)][::-1]
    found = []
    while waiting:  # no recursion: they may lie within each other to any depth
        feature = waiting.pop()
        found.append(QuPathObject(f"object {len(found) + 1}", feature))
        inner = found[-1].properties.get("childObjects")
        waiting += inner[::-1] if isinstance(inner, list) else []
    return found


def _documents(file: Path) -> Iterator[Any]:
    if file.suffix.lower() == ".zip":
        packed = Zipped(file)
        for number in range(len(packed.names)):
            yield _parsed(packed.read(number))
    else:
        data = load_bytes(file)
        yield _parsed(_unpacked(data) if data.startswith(GZIP) else data)


def _unpacked(data: bytes) -> bytes:
    """The content of a gzip file. Faults: broken, or more than MAX_BYTES."""
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Fault(f"broken gzip ({error})", AGAIN) from error
    if len(content) > MAX_BYTES:
        raise Fault(f"it unpacks to more than {MAX_BYTES} bytes", "divide it")
    return content


def _parsed(data: bytes) -> Any:
    try:
        return parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Fault(f"broken JSON ({error})", AGAIN) from error


def _features(document: Any) -> list[Any]:
    """The Features of a document: it is a collection of them, a list, or one. Fault: it is something else."""
    if isinstance(document, list):
        return [_as_feature(one) for one in document]
    if is_geojson(document) and document["type"] == "FeatureCollection":
        return checks.need(document, "features", list)
    if is_geojson(document):
        return [_as_feature(document)]
    found = f"it is no GeoJSON: found {checks.brief(document)} where a FeatureCollection belongs"
    raise Fault(found, "export it from QuPath (File > Export objects as GeoJSON), or correct its path or format")


def _as_feature(one: Any) -> Any:
    """A Feature as it is; a geometry alone, as QuPath's scripts write ROIs, as one."""
    alone = isinstance(one, dict) and one.get("type") in GEOMETRIES
    return {"type": "Feature", "geometry": one} if alone else one


def is_geojson(one: Any) -> bool:
    """Whether a JSON value is a FeatureCollection, a Feature, or a geometry."""
    return isinstance(one, dict) and one.get("type") in ("FeatureCollection", "Feature", *GEOMETRIES)
