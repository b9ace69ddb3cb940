"""A searched slide on one HTML page, without scripts and outside files: where its cells lie, and how they look."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from wbcjax.report.run_page import Card, Gallery, Section, Text, run_page
from wbcjax.report.set_page import jpeg_uri
from wbcjax.smear.colours import colour_of
from wbcjax.system.terminal import Table

SIDE = 1400  # pixels: the longer side of the overview, at most
DOT = 3  # pixels: the radius of a cell's dot
SHADE = {"empty": 0.75, "blurred": 0.45, "unreadable": 0.2}  # of tiles left out, by how much they are darkened


class LeftOut(NamedTuple):
    """A tile that was not searched."""

    view: tuple[float, float, float, float]  # x1, y1, x2, y2, as shares of the slide
    reason: str


@dataclass(frozen=True, eq=False)
class SlidePage:
    """The contents of the page."""

    title: str
    facts: Sequence[str]  # lines below the title
    counts: Table
    overview: UInt8[np.ndarray, "_ _ 3"]  # the whole slide, small
    centres: Float[np.ndarray, "c 2"]  # x, y of each cell, as shares of the slide
    labels: Int[np.ndarray, " c"]  # 1..C
    left_out: Sequence[LeftOut]
    galleries: Sequence[tuple[str, Sequence[Card], Sequence[Card]]]  # a class, its surest cells, its least sure
    regions: Sequence[Card]
    classes: tuple[str, ...]


def slide_page(page: SlidePage) -> str:
    """The page as HTML."""
    shown = Card("A dot is a cell, in the colour of its class", (("", jpeg_uri(draw_overview(page))),))
    shaded = {reason: sum(tile.reason == reason for tile in page.left_out) for reason in SHADE}
    told = ", ".join(f"{count} {reason}" for reason, count in shaded.items() if count)
    note = f"Tiles that were not searched are darker: {told}." if told else "Every tile was searched."
    galleries = []
    for name, surest, least in page.galleries:
        galleries += [Gallery(f"{name}: the surest", "", tuple(surest), layout="thumbs")] if surest else []
        galleries += (
            [Gallery(f"{name}: the least sure", "Look at these first.", tuple(least), layout="thumbs")] if least else []
        )
    sections = [
        Section("Counts", (page.counts,)),
        Section("Where the cells lie", (Gallery("", note, (shown,), page.classes, layout="fields"),)),
        Section("Cells", tuple(galleries), absent="no cell was found"),
        Section(
            "Regions with the most cells",
            (Gallery("", "", tuple(page.regions), page.classes, layout="fields"),) if page.regions else (),
            absent="no cell was found",
        ),
        Section("What this is", (Text("Research software, not a medical device. Do not use it for diagnosis."),)),
    ]
    return run_page(page.title, page.facts, sections)


def draw_overview(page: SlidePage) -> UInt8[np.ndarray, "_ _ 3"]:
    """The slide, small, with a dot for each cell; tiles that were left out are darker."""
    zoom = min(1.0, SIDE / max(page.overview.shape[:2]))
    drawn = np.asarray(cv2.resize(page.overview, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA))
    height, width = drawn.shape[:2]
    light = np.ones((height, width, 1), np.float32)
    for (x1, y1, x2, y2), reason in page.left_out:
        part = light[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)]
        np.minimum(part, SHADE[reason], out=part)
    drawn = np.ascontiguousarray((drawn * light).astype(np.uint8))
    for (x, y), label in zip(page.centres * (width, height), page.labels.tolist(), strict=True):
        place = int(x), int(y)
        cv2.circle(drawn, place, DOT + 1, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(drawn, place, DOT, colour_of(label), cv2.FILLED, cv2.LINE_AA)
    return drawn
