"""What a format of annotations is: how it is recognised, its reader and, where it has one, its writer.

A format is one module of this folder with its `FORMAT`, named in `known`. The choices of --format and
config.dataset.name follow from that list, and so does the README's table.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wbcjax.smear.field import SmearField
from wbcjax.smear.formats import folders
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.image_files import LABELS
from wbcjax.smear.formats.load import load_json, load_start
from wbcjax.smear.formats.write_checks import Predicted

# Reads the fields of `reading.annotations`, in their order; their images lie in `reading.images`. Names are resolved by
# `reading.label` and `reading.image`. Each check runs inside `with reading.at(file, where)`, so that all problems of a
# set are reported at once. A `Fault` outside of one is a problem of the whole set.
Reader = Callable[[Reading], list[SmearField]]

# Writes the fields, in the classes of label 1, 2, ..., to a file or a folder, whole or not at all; with what a model
# predicted for each cell, or None. Returns a sentence for each kind of thing that the format cannot hold.
Writer = Callable[[Path, Sequence[SmearField], Sequence[str], Predicted | None], list[str]]

DOCUMENTS = frozenset({".json", ".xml", ".geojson", ".roi"})
LOOKED_AT = 20  # files of a folder, to recognise its format


class Place:
    """A file or a folder of annotations whose format is to be recognised, and the folder of their images."""

    def __init__(self, annotations: Path, images: Path) -> None:
        self.path, self.images = annotations, images
        self.is_folder = annotations.is_dir()

    def files(self, suffixes: Collection[str]) -> list[Path]:
        """The files that end in one of the suffixes: of the folder, by name, or the one file itself."""
        if self.is_folder:
            return folders.files(self.path, suffixes)
        return [self.path] if self.path.suffix.lower() in suffixes else []

    @cached_property
    def named_after_images(self) -> tuple[int, int]:
        """How many image files here are named as label images are, and how many as masks: see `folders`.

        0 and 0 beside documents: then the images are those that were annotated.
        """
        return (0, 0) if self.files(DOCUMENTS) else folders.named_after_images(self.files(LABELS), self.images)

    @cached_property
    def start(self) -> bytes:
        """The first bytes of a file, b"" of a folder. Fault: it cannot be read."""
        return b"" if self.is_folder else load_start(self.path)

    @cached_property
    def json(self) -> Any:
        """The content of a JSON file, None of any other and of a folder. Fault: it is broken."""
        named_so = self.path.suffix.lower() == ".json" and not self.is_folder
        return load_json(self.path) if named_so or re.match(rb"(\xef\xbb\xbf)?\s*[\[{]", self.start) else None

    @cached_property
    def jsons(self) -> list[Any]:
        """The contents of the first LOOKED_AT *.json files of a folder, None for a broken one; [] of a file."""
        return [_json_or_none(file) for file in self.files({".json"})[:LOOKED_AT]] if self.is_folder else []

    @cached_property
    def xml_root(self) -> str | None:
        """The tag of the XML file, or of the first of a folder that has one, "" where none; None where there is no XML.

        A comment, a declaration or a DOCTYPE before it is passed over.
        """
        starts = [load_start(file) for file in self.files({".xml"})[:LOOKED_AT]] if self.is_folder else [self.start]
        starts = [start for start in starts if self.is_folder or re.match(rb"(\xef\xbb\xbf)?\s*<", start)]
        tags = [match[1].decode() for start in starts if (match := re.search(rb"<([A-Za-z_][\w.-]*)", start))]
        return tags[0] if tags else "" if starts else None


@dataclass(frozen=True)
class Format:
    """A format of annotations."""

    name: str  # of --format and config.dataset.name
    tools: str  # what writes it, in a few words of Markdown: the README's table
    content: str  # what of it is read, likewise
    recognises: Callable[[Place], bool]
    fields: Reader
    write: Writer | None = None
    suffix: str = ""  # of the file that `write` makes; "" for a folder


def _json_or_none(file: Path) -> Any:
    try:
        return load_json(file)
    except Fault:
        return None
