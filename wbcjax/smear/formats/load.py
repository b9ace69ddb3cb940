"""Annotation files read whole: one that cannot be used raises a `Fault`."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from errno import EFBIG
from pathlib import Path
from typing import Any

from wbcjax.smear.formats.checks import Fault, brief
from wbcjax.system.files import open_regular, read_regular

START = 2**12  # bytes, by which a file is recognised
MAX_BYTES = 2**29  # of an annotation file: read, it may take thirty times as much memory


def load_json(path: Path) -> Any:
    """The content of a UTF-8 JSON file. Faults: as `load_text`, broken, or a key given twice in one object."""
    text = load_text(path)
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise Fault(f"broken JSON ({error})", "export the annotations again or restore the file") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for broken JSON, a key given twice, and half a character (\\ud800).

    Raises RecursionError for one nested too deeply.
    """
    value = json.loads(text, object_pairs_hook=_object_without_repeats)
    if _SURROGATE.search(text):  # a pair of them is a character, one alone can never be written again
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"it holds half a character, {error.object[error.start]!r}") from error
    return value


def load_xml(path: Path) -> ET.Element:
    """The root of an XML file. Faults: as `load_bytes`, broken, or a DOCTYPE."""
    content = load_bytes(path)
    try:
        return ET.fromstring(content, ET.XMLParser(target=_WithoutDoctype()))
    except (ET.ParseError, LookupError, ValueError) as error:  # the others: an encoding that is not known
        raise Fault(f"broken XML ({error})", "export the annotations again or restore the file") from error


class _WithoutDoctype(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        # Entities are declared in it, and a few lines of them expand to gigabytes.
        raise Fault(f"it has a DOCTYPE ({name})", "delete that declaration")


def load_text(path: Path) -> str:
    """The content of a UTF-8 text file. Faults: it cannot be read, or is no UTF-8."""
    try:
        return load_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise Fault(f"broken text ({error})", "export the annotations again or save the file as UTF-8") from error


def load_start(path: Path) -> bytes:
    """The first START bytes of a file. Faults: it cannot be read, or is no regular file."""
    try:
        with open_regular(path) as file:
            return file.read(START)
    except OSError as error:
        raise Fault(f"cannot be read ({error.strerror})", "correct the path or the file's permissions") from error


def load_bytes(path: Path) -> bytes:
    """The content of a file. Faults: it cannot be read, is no regular file, or has more than MAX_BYTES."""
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        remedy = "correct the path or the file's permissions"
        raise Fault(f"cannot be read ({error.strerror})", "divide it" if error.errno == EFBIG else remedy) from error


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json keeps the last of repeated keys and drops the others silently.
    record = dict(pairs)
    if len(record) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {brief(repeated)} is given twice in one object")
    return record
