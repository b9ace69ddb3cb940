"""Images, categories and annotations of a COCO file by their ids, as tools write them: numbers, texts, or none at all.

An id that is given twice is used for none, as nobody knows which is meant. Nothing refers to the ids of annotations.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from wbcjax.smear.formats import checks
from wbcjax.smear.formats.checks import Fault, Reading

Id = int | str
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})")  # a text that is a number's, as JSON writes it
NUMBER_ANEW = "number them anew, and what refers to them"
LISTED = {
    "image": ("images", "list the image or delete the annotation"),
    "category": ("categories", "correct it or list the category"),
}
NAME_IT = "give it a name, as every cell has its class from it"


class Records(NamedTuple):
    """The images, or the categories, of a file."""

    kind: str  # "image" or "category"
    by_id: dict[Id, Any]
    twice: frozenset[Id]  # ids that several have

    def find(self, reading: Reading, place: str, annotation: Any) -> Id:
        """The id of the record that an annotation refers to. Faults: there is none, or there are several."""
        key = f"{self.kind}_id"
        found, given = id_of(annotation, key), annotation[key]
        if found in self.twice:
            raise Fault(f"its {self.kind} id {checks.brief(given)} is given several times", NUMBER_ANEW)
        if found not in self.by_id:
            listed, remedy = LISTED[self.kind]
            raise Fault(f'its {self.kind} {checks.brief(given)} is not in "{listed}"', remedy)
        if isinstance(given, str) != isinstance(self.by_id[found]["id"], str):
            told = f'its "{key}" and the id that it means are a text and a number'
            reading.often(reading.annotations.name, place, told, f"look whether it has the right {self.kind}")
        return found


def id_of(record: Any, key: str) -> Id:
    """An id, a number where it is the text of one. Faults: it is missing, or neither a whole number nor a text."""
    value = checks.need(record, key, object)
    found = _plain(value)
    if found is None:
        raise Fault(f'"{key}" is {checks.brief(value)}', "it must be a whole number or a text")
    return found


def records(reading: Reading, listed: list[Any], kind: str) -> Records:
    """Images or categories by id. Each without an id, or with one that another has too, is a problem."""
    of_id: dict[Id, list[tuple[int, Any]]] = {}
    for position, record in enumerate(listed, start=1):
        with _at(reading, kind, position, record):
            of_id.setdefault(id_of(record, "id"), []).append((position, record))
    twice = frozenset(record_id for record_id, alike in of_id.items() if len(alike) > 1)
    for record_id in twice:
        for position, record in of_id[record_id]:
            with _at(reading, kind, position, record):
                count = len(of_id[record_id])
                raise Fault(f"its {kind} id {checks.brief(record['id'])} is given {count} times", NUMBER_ANEW)
    return Records(kind, {key: alike[0][1] for key, alike in of_id.items() if key not in twice}, twice)


def class_names(reading: Reading, categories: Records) -> dict[Id, str]:
    """The names of categories, by id. Categories without one are problems; a name that several have is suspect."""
    names = {}
    for category_id, category in categories.by_id.items():
        with reading.at(reading.annotations.name, f"category {category_id}", "set"):
            name = category.get("name")
            if name is None or (isinstance(name, str) and not name.strip()):
                raise Fault(f"its name is {checks.brief(name)}" if "name" in category else "it has no name", NAME_IT)
            names[category_id] = checks.need(category, "name", str)
    for name, count in Counter(names.values()).items():
        if count > 1:
            found = f"{count} categories are named {checks.brief(name)}, and are taken for one class"
            reading.suspect(reading.annotations.name, "", found, "name them apart unless they are one")
    return names


def annotations(reading: Reading, listed: list[Any] | dict[str, Any], images: Records) -> list[tuple[str, Any]]:
    """The annotations of a file, each with its place: its id, or its position where that is missing or repeated."""
    flat = listed if isinstance(listed, list) else list(_of_object(reading, listed, images))
    ids = [_plain(each.get("id")) if isinstance(each, dict) else None for each in flat]
    count = Counter(ids)
    found = []
    for position, (own, annotation) in enumerate(zip(ids, flat, strict=True), start=1):
        place = f"annotation {own}" if own is not None and count[own] == 1 else f"annotation at position {position}"
        found.append((place, annotation))
        if own is None and isinstance(annotation, dict):
            reading.often(reading.annotations.name, place, "it has no id", "none, as nothing uses it")
        elif count[own] > 1 and own is not None:
            alike = "0, as that of every other is" if count[0] == len(flat) else "that of another annotation too"
            reading.often(reading.annotations.name, place, f"its id is {alike}", "none, as nothing uses it")
    return found


def _of_object(reading: Reading, listed: dict[str, Any], images: Records) -> Iterator[Any]:
    """The annotations of an object that has them by their own id, or lists of them by the image's id or file name."""
    file = reading.annotations.name
    by_name: dict[Any, list[Any]] = {}
    for image in images.by_id.values():
        by_name.setdefault(str(image.get("file_name")), []).append(image["id"])
    for key, value in listed.items():
        if isinstance(value, dict):
            found = '"annotations" is an object by id, where COCO has a list'
            reading.often(file, "", found, "look whether all cells are there")
            yield {"id": key, **value}
            continue
        if not isinstance(value, list):
            with reading.at(file, f"annotations of {key}"):
                raise Fault(f"found {checks.brief(value)} where a list of annotations belongs", "restore or delete it")
            continue
        found = '"annotations" is an object of lists by image, where COCO has one list'
        reading.often(file, "", found, "look whether each cell lies on its image")
        named = by_name.get(key, [])
        own: Any = named[0] if _plain(key) not in {*images.by_id, *images.twice} and len(named) == 1 else _plain(key)
        for annotation in value:
            if isinstance(annotation, dict) and _plain(annotation.get("image_id", own)) != _plain(own):
                with reading.at(file, f"annotations of {key}"):
                    told = checks.brief(annotation["image_id"])
                    raise Fault(f"one of them has the image id {told}", "correct it, or move it to that image")
            else:
                yield {**annotation, "image_id": own} if isinstance(annotation, dict) else annotation


def _plain(value: Any) -> Id | None:
    """An id as it is compared, None for what is none: "7" and 7.0 are 7."""
    if isinstance(value, str):
        return int(value) if NUMBER.fullmatch(value) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def _at(reading: Reading, kind: str, position: int, record: Any) -> Any:
    """The place of an image, which is its file name, or of a category."""
    name = record.get("file_name") if isinstance(record, dict) else None
    if kind == "image" and isinstance(name, str) and name:
        return reading.at(name)
    what_is_left_out = "field" if kind == "image" else "set"
    return reading.at(reading.annotations.name, f"{kind} at position {position}", what_is_left_out)
