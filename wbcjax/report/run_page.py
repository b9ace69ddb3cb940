"""The report of a run as one HTML page without scripts that loads nothing: sections of a few kinds of blocks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wbcjax.report.set_page import HEAD, STYLE
from wbcjax.smear.colours import colour_of
from wbcjax.system.terminal import Attention, Table, printable


@dataclass(frozen=True)
class KeyScore:
    """An important score, and its meaning without the field's terms."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class KeyScores:
    """Important scores side by side."""

    scores: tuple[KeyScore, ...]


@dataclass(frozen=True)
class Lead:
    """Sentences in large letters, before all else; those that are `Attention` stand out."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Chart:
    """A figure, and below it its note. The title is shown with a note only: most figures have one in them."""

    title: str
    uri: str  # `figure_uri`
    note: str = ""


@dataclass(frozen=True)
class Charts:
    """Figures side by side where there is room."""

    charts: tuple[Chart, ...]
    small: bool = False  # many of one kind


@dataclass(frozen=True)
class Card:
    """Pictures of one field or cell side by side, with captions, and lines below."""

    title: str
    pictures: tuple[tuple[str, str], ...]  # (caption, `jpeg_uri`)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Cards under a heading; with the colours of classes where `classes` names them."""

    title: str
    note: str
    cards: tuple[Card, ...]
    classes: tuple[str, ...] = ()
    layout: str = "cells"  # or "fields": one card a row, its pictures large


@dataclass(frozen=True)
class Folded:
    """Blocks that a click opens. They print as they are on the screen."""

    title: str
    blocks: tuple["Block", ...]


Block = KeyScores | Lead | Text | Table | Charts | Gallery | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own. One without blocks is not shown, but `absent` says why."""

    title: str
    blocks: tuple[Block, ...] = ()
    absent: str = ""


def run_page(title: str, subtitle: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as HTML: a title, lines below it, then the sections; those without blocks in a list at the end.

    Every text is escaped: names come from files.
    """
    environment = Environment(
        loader=PackageLoader("wbcjax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("run.html.j2").render(
        head=Markup(HEAD),
        style=Markup(STYLE),
        title=title,
        subtitle=subtitle,
        sections=[section for section in sections if section.blocks],
        absent=[section for section in sections if not section.blocks],
        kind_of=lambda block: type(block).__name__,
        anchor_of=lambda section: re.sub(r"\W+", "-", section.title.lower()).strip("-"),
        is_figure=lambda table, column: bool(table.head) and table.figures(column),
        calls_for_attention=lambda sentence: isinstance(sentence, Attention),
        colour_of=colour_of,
    )
    return page.strip() + "\n"


def _shown(value: Any) -> Any:
    """Texts made `printable`; HTML is left as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
