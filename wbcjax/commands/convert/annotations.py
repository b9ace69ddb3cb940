"""An annotated set in another format: the place where it may be written, and what is lost on the way."""

from collections.abc import Sequence
from pathlib import Path

from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.read import FieldSet
from wbcjax.system.files import check_new
from wbcjax.system.places import check_out, check_writable


def check_place(out: Path, file_format: str, images: Path) -> None:
    """Refuse a place that is not new, so that nothing is replaced; for a format of one file, also another suffix.

    Raises as `check_out` for a folder, ValueError for a file's suffix, FileExistsError for a file that is there, and
    OSError for a place that cannot be written.
    """
    suffix = FORMATS[file_format].suffix
    if not suffix:
        check_out(out, [images / "*"])
        return
    if out.suffix.lower() != suffix:
        raise ValueError(f"{out}: {file_format} is one file; give it a name that ends in {suffix}")
    check_new(out)
    check_writable(out.parent)


def write_as(found: FieldSet, out: Path, file_format: str, leave_out: Sequence[str] = ()) -> list[str]:
    """Write a set that was read without a class map, but the cells of some classes; returns a sentence for each loss.

    Raises ValueError for a class that the set lacks, and for what the format's writer refuses.
    """
    write = FORMATS[file_format].write
    if write is None:
        raise ValueError(f"{file_format} is read and not written")
    kept = found.without(leave_out)
    lost = [f"{count} {what}" for what, count in found.unkept.items() if count]
    if points := sum(len(field.points) for field in kept.fields):
        lost.append(f"{points} cell(s) of which only a point is known")
    return lost + write(out, kept.fields, kept.classes, None)
