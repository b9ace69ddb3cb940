"""An annotated set on one HTML page: a single file without scripts that loads nothing, for screen, phone and paper."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.suspects import Suspect
from wbcjax.report.field_sheet import Picture
from wbcjax.report.histogram import Histogram, escaped
from wbcjax.report.histogram_svg import histogram_svg
from wbcjax.smear.colours import colour_of
from wbcjax.smear.formats.checks import Problem
from wbcjax.system.terminal import Table

JPEG_QUALITY = 85

# The policy keeps a name that slipped through unescaped from loading or running anything.
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
"""
STYLE = """
:root { --ink: #1f1a24; --faint: #6b6472; --line: #d9d4de; --paper: #fff; --card: #f6f4f8; --bar: #7b4fa3;
  --bad: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ece7f0; --faint: #a59dae; --line: #463f4d; --paper: #17141a; --card: #221e26; --bar: #b48ad8;
    --bad: #ff8f85 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: 0 0 .25rem }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem }
p { margin: .4rem 0 }
.note, figcaption .remedy { color: var(--faint); font-size: .875rem }
.bad { color: var(--bad) }
nav a { margin-right: 1rem }
a { color: inherit }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem }
.tables > div { max-width: 100% }
.wide { overflow-x: auto; overflow-wrap: normal }
table { border-collapse: collapse; font-size: .9rem }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
th { font-weight: 600 }
td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums }
th, td { white-space: nowrap }
.list td, .facts td { white-space: normal; overflow-wrap: anywhere }
.list td { min-width: 7rem }
pre { padding: .75rem; overflow-x: auto; background: var(--card); font-size: .85rem; line-height: 1.5 }
.charts, .cells, .fields { display: grid; gap: 1rem; margin: .75rem 0; align-items: start }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)) }
.cells { grid-template-columns: repeat(auto-fill, minmax(min(100%, 10rem), 1fr)) }
.fields { grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)) }
figure { margin: 0; break-inside: avoid; font-size: .875rem }
.cells figure, .fields figure { background: var(--card) }
.cells figcaption, .fields figcaption { padding: .4rem .6rem .6rem }
img { display: block; width: 100%; height: auto }
svg { width: 100%; height: auto; max-width: 40rem }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif }
svg rect { fill: var(--bar) }
svg line { stroke: var(--line) }
.class { display: inline-block; margin-right: 1.25rem }
.swatch { display: inline-block; width: .9rem; height: .9rem; margin-right: .4rem; border: 1px solid var(--ink);
  vertical-align: -.1rem; print-color-adjust: exact; -webkit-print-color-adjust: exact }
@media (max-width: 40rem) {
  .list tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line) }
  .list td { display: block; padding: 0; border: 0 }
  .list th { display: none }
}
@media print {
  :root { --ink: #000; --faint: #444; --line: #bbb; --paper: #fff; --card: #fff; --bar: #7b4fa3; --bad: #a00 }
  body { max-width: none; padding: 0; font-size: 10pt }
  nav { display: none }
  h2, h3 { break-after: avoid }
  .wide, pre { overflow: visible }
  pre { white-space: pre-wrap }
  .charts { grid-template-columns: 1fr 1fr }
  .cells { grid-template-columns: repeat(4, 1fr) }
  .fields { grid-template-columns: repeat(3, 1fr) }
}
"""


@dataclass(frozen=True, eq=False)
class SetReport:
    """The contents of the page."""

    title: str
    tables: tuple[Table, ...]
    histograms: tuple[Histogram, ...]
    config: tuple[str, ...]  # proposed lines of a config
    config_notes: tuple[str, ...]  # sentences below them
    problems: tuple[Problem, ...]  # for which cells and fields are left out
    suspects: tuple[Suspect, ...]
    suspect_pictures: Mapping[int, UInt8[np.ndarray, "_ _ 3"]]  # by position in `suspects`; not of all
    fields: tuple[Picture, ...]
    fields_title: str
    classes: tuple[str, ...]  # of label 1, 2, ...


def set_page(report: SetReport) -> str:
    """The page as HTML. Every text is escaped: names come from files."""
    sections = {
        "Problems": _problems(report),
        "The set": _tables(report.tables),
        "Distributions": _charts(report.histograms),
        "Proposed config": _config(report),
        "Worth a look": _suspects(report),
        "Fields": _fields(report),
    }
    shown = {name: content for name, content in sections.items() if content}
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a> ' for name in shown)
    body = "".join(
        f'<section id="{_anchor(name)}"><h2>{name}</h2>{content}</section>\n' for name, content in shown.items()
    )
    return (
        f"{HEAD}<title>{escaped(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escaped(report.title)}</h1>\n<nav>{links}</nav>\n{body}</body>\n</html>\n"
    )


def jpeg_uri(image: UInt8[np.ndarray, "_ _ 3"]) -> str:
    """An RGB image as the text of a `data:` address."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _problems(report: SetReport) -> str:
    if not report.problems:
        return ""
    return '<p class="bad">Cells and fields with problems are left out below.</p>' + _list(report.problems)


def _list(problems: Sequence[Problem]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("file", "where", "found", "remedy"))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in (p.file, p.where, p.found, p.remedy)) + "</tr>\n"
        for p in problems
    )
    return f'<div class="wide"><table class="list"><tr>{head}</tr>\n{rows}</table></div>'


def _tables(tables: Sequence[Table]) -> str:
    return f'<div class="tables">{"".join(map(_table, tables))}</div>'


def _table(table: Table) -> str:
    columns = range(len(table.rows[0]) if table.rows else 0)
    kinds = [' class="figure"' if table.head and table.figures(column) else "" for column in columns]

    def row(entries: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(f"<{tag}{kind}>{escaped(entry)}</{tag}>" for entry, kind in zip(entries, kinds, strict=True))
            + "</tr>\n"
        )

    head = row(table.head, "th") if table.head and table.rows else ""
    rows = "".join(row(entries, "td") for entries in table.rows)
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    kind = "" if table.head else ' class="facts"'
    return (
        f'<div><h3>{escaped(table.title)}</h3><div class="wide"><table{kind}>{head}{rows}</table></div>{note}</div>\n'
    )


def _charts(histograms: Sequence[Histogram]) -> str:
    charts = "".join(
        f"<figure><figcaption>{escaped(chart.title)}</figcaption>{histogram_svg(chart)}</figure>\n"
        for chart in histograms
    )
    return f'<div class="charts">{charts}</div>' if charts else ""


def _config(report: SetReport) -> str:
    notes = "".join(f'<p class="note">{escaped(note)}</p>' for note in report.config_notes)
    lines = "\n".join(map(escaped, report.config))
    return (f"<pre>{lines}</pre>" if lines else "") + notes


def _suspects(report: SetReport) -> str:
    if not report.suspects:
        return "<p>Nothing.</p>"
    kinds = dict.fromkeys(suspect.kind for suspect in report.suspects)
    legend = ""
    if any(len(suspect.cells) == 2 for suspect in report.suspects):
        legend = f"<p>Of two cells in a picture: {_legend(('the first', 'the second'))}</p>"
    return legend + "".join(_kind(report, kind) for kind in kinds)


def _kind(report: SetReport, kind: str) -> str:
    """The suspects of one kind: those with a picture, then the others."""
    positions = [position for position, suspect in enumerate(report.suspects) if suspect.kind == kind]
    cards = "".join(
        _card(report.suspect_pictures[position], report.suspects[position].problem)
        for position in positions
        if position in report.suspect_pictures
    )
    others = [report.suspects[p].problem for p in positions if p not in report.suspect_pictures]
    return (
        f"<h3>{escaped(kind.capitalize())}: {len(positions)}</h3>"
        + (f'<div class="cells">{cards}</div>' if cards else "")
        + (_list(others) if others else "")
    )


def _card(image: UInt8[np.ndarray, "_ _ 3"], problem: Problem) -> str:
    place = f"{escaped(problem.file)}{', ' * bool(problem.where)}{escaped(problem.where)}"
    return (
        f'<figure><img src="{jpeg_uri(image)}" alt="{place}"><figcaption><b>{place}</b><br>{escaped(problem.found)}<br>'
        f'<span class="remedy">{escaped(problem.remedy)}</span></figcaption></figure>\n'
    )


def _fields(report: SetReport) -> str:
    if not report.fields:
        return ""
    figures = "".join(
        f'<figure><img src="{jpeg_uri(picture.image)}" alt="{escaped(picture.name)}">'
        f"<figcaption><b>{escaped(picture.name)}</b><br>{escaped(picture.counts)}</figcaption></figure>\n"
        for picture in report.fields
    )
    return f'<p>{escaped(report.fields_title)}</p><p>{_legend(report.classes)}</p><div class="fields">{figures}</div>'


def _legend(names: Sequence[str]) -> str:
    """Names beside the colours of class 1, 2, ..."""
    swatches = [
        f'<span class="swatch" style="background: rgb{colour_of(label + 1)}"></span>' for label in range(len(names))
    ]
    return "".join(
        f'<span class="class">{swatch}{escaped(name)}</span>' for swatch, name in zip(swatches, names, strict=True)
    )
