"""The page: valid nesting, every text escaped, nothing loaded from elsewhere, and every problem and suspect on it."""

import base64
import re
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np

from wbcjax.evaluate.suspects import Suspect
from wbcjax.report.field_sheet import Picture
from wbcjax.report.histogram import histogram
from wbcjax.report.histogram_svg import histogram_svg
from wbcjax.report.set_page import SetReport, jpeg_uri, set_page
from wbcjax.smear.formats.checks import Problem
from wbcjax.system.terminal import Table

HOSTILE = '</title></pre><script>alert(1)</script><img src=x onerror=alert(2)> " onload="x \' & \ud800 \x1b[31m'
IMAGE = np.full((8, 12, 3), (200, 100, 150), np.uint8)
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(name="a.png", pictured=True, **changes: Any) -> SetReport:
    """A report in which `name` is the text of everything."""
    content = {
        "title": name,
        "tables": (Table(name, (name, "cells"), ((name, "7"), (name, "8")), name), Table(name, (), ((name, name),))),
        "histograms": (histogram(name, name, np.array([1.0, 2, 2, 5])),),
        "config": (name, f"config.x = {name}"),
        "config_notes": (name,),
        "problems": (Problem(name, name, name, name),),
        "suspects": tuple(Suspect(kind, Problem(name, name, name, name), (0, 1)) for kind in (name, name, "odd")),
        "suspect_pictures": {1: IMAGE} if pictured else {},
        "fields": (Picture(name, name, IMAGE),),
        "fields_title": name,
        "classes": (name, "L2"),
    }
    return SetReport(**(content | changes))


def test_every_text_is_on_the_page():
    text = Page(set_page(report("Größe 細胞"))).text
    assert text.count("Größe 細胞") > 20
    assert "Odd: 1" in text


def test_names_from_files_are_shown_and_never_become_tags_or_attributes():
    html = set_page(report(HOSTILE))
    page = Page(html)
    plain = {tag for tag, _ in Page(set_page(report("plain"))).tags}
    assert {tag for tag, _ in page.tags} == plain
    assert not {name for _, attributes in page.tags for name in attributes if name.startswith("on")}
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "\\ud800 \\x1b[31m" in page.text
    html.encode()  # nothing is left that a file could not hold


def test_the_page_loads_nothing_and_runs_nothing():
    page = Page(set_page(report("https://example.org/a.png")))
    assert not page.all("script")
    assert not page.all("link")
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert "url(" not in set_page(report())
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none';")


def test_links_lead_to_the_sections_that_are_there():
    page = Page(set_page(report()))
    sections = [section["id"] for section in page.all("section")]
    assert [link["href"][1:] for link in page.all("a")] == sections
    assert sections == ["problems", "the-set", "distributions", "proposed-config", "worth-a-look", "fields"]


def test_suspects_have_their_picture_or_a_line_and_none_is_lost():
    suspects = tuple(Suspect("odd", Problem(f"{number}.png", "", "is odd", "look")) for number in range(30))
    html = set_page(report(suspects=suspects, suspect_pictures={3: IMAGE, 5: IMAGE}))
    page = Page(html)
    assert "Odd: 30" in page.text
    assert all(f"{number}.png" in page.text for number in range(30))
    assert [image["alt"] for image in page.all("img")] == ["3.png", "5.png", "a.png"]


def test_a_set_without_cells_problems_or_suspects_has_a_page():
    empty = report(problems=(), suspects=(), suspect_pictures={}, config=(), histograms=(), classes=(), tables=())
    page = Page(set_page(empty))
    assert "problems" not in [section["id"] for section in page.all("section")]
    assert "Nothing." in page.text
    assert not page.all("pre")


def test_pictures_are_whole_in_the_page():
    data = base64.b64decode(jpeg_uri(IMAGE).removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    assert abs(decoded.astype(int) - IMAGE).max() < 8


def test_a_histogram_has_a_bar_of_each_bin_as_high_as_its_count():
    svg = histogram_svg(histogram("Sizes", "pixels", np.array([1.0, 2, 2, 4]), whole=True))
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]
    assert len(heights) == 4
    assert heights[1] == max(heights) == 2 * heights[0] == 2 * heights[3] > 100
    assert heights[2] == 0
    assert "<title>2: 2</title>" in svg
    assert histogram_svg(histogram("Sizes", "pixels", np.zeros(0))).count("<rect") == 1
