"""The report of a run: every score on it, every text escaped, nothing loaded, and what is missing said."""

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.evaluate.make import HEIGHT, WIDTH, annotated, detected, random_set
from tests.report.test_set_page import HOSTILE, Page
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.cells_csv import cell_rows
from wbcjax.evaluate.classification import classification_scores
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections
from wbcjax.evaluate.image_scores import subtype_scores
from wbcjax.evaluate.predictions import Predictions
from wbcjax.evaluate.scores import detection_scores
from wbcjax.report import run_pictures, run_report
from wbcjax.report.detection_sections import image_section
from wbcjax.report.run_report import ReportedRun, write_classification_report, write_report

CLASSES = ("L1", "L2", "L3", "other")
PINK = (225, 200, 215)
CONFIG = {"seed": 7, "dataset": {"name": "via", "annotations": "via.json"}, "evaluate": {"score_threshold": 0.3}}
RECORDS = [
    {"kind": "train", "step": 2, "epoch": 0.5, "loss": 3.0, "mask": 1.0, "images_per_second": 4.0},
    {"kind": "eval", "step": 2, "epoch": 0.5, "mask/AP": 0.25},
    {"kind": "stop", "step": 2, "reason": "finished"},
]
Fields = tuple[list[FieldAnnotations], list[FieldDetections]]
CELL, OTHER = (5, 5, 25, 25), (35, 10, 55, 30)


def image_of(_: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), PINK, np.uint8)


def run_of(**changes) -> ReportedRun:
    content: dict[str, Any] = {"name": "x", "model": "A model", "config": CONFIG, "scored": "val", "records": RECORDS}
    return ReportedRun(**(content | changes))


def write(folder: Path, annotations, detections, classes=CLASSES, single_cells=True, **changes) -> str:
    """The page of these fields. `changes` are of the run, and `rows` and `original_of`."""
    threshold = CONFIG["evaluate"]["score_threshold"]
    found: dict[str, Any] = detection_scores(annotations, detections, classes, threshold)
    if single_cells:
        found["cells"] = cell_scores(annotations, detections, classes, threshold)
    if set(classes) >= {"L1", "L2", "L3"}:
        found["images"] = subtype_scores(annotations, detections, classes, threshold)
    rows, original_of = changes.pop("rows", ()), changes.pop("original_of", None)
    shown = run_pictures.Fields(image_of, original_of, annotations, detections, classes, threshold)
    write_report(folder / "report.html", run_of(**changes), shown, found, rows)
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def fields() -> Fields:
    return random_set(3)


@pytest.fixture(scope="module")
def page(fields: Fields, tmp_path_factory) -> str:
    """A page on which everything is."""
    rows = [row for field in fields[1][:2] for row in cell_rows(image_of(0), field, CLASSES, 0.1)]
    return write(
        tmp_path_factory.mktemp("run"),
        *fields,
        rows=rows,
        original_of=image_of,
        splits={"train": {"fields": 901, "L1": 902, "L2": 903, "L3": 904, "other": 905}},
        environment={"python": "3.99", "devices": "an abacus"},
    )


@pytest.fixture(scope="module")
def found(fields: Fields) -> dict[str, Any]:
    return detection_scores(*fields, CLASSES, 0.3) | {
        "cells": cell_scores(*fields, CLASSES, 0.3),
        "images": subtype_scores(*fields, CLASSES, 0.3),
    }


def left_out(html: str) -> dict[str, str]:
    """Section and reason of each that the page says it leaves out."""
    part = html.partition('id="left-out"')[2]
    return dict(re.findall(r"<li>([^:]+): (.+?)</li>", part))


def cards(html: str, heading: str) -> list[str]:
    """Captions of the gallery under a heading."""
    gallery = html.partition(f"<h3>{heading}")[2].partition("<h3>")[0].partition("</section>")[0]
    return re.findall(r"<figcaption>(.+)</figcaption>", gallery)


def test_sections_come_in_the_order_of_reading_and_links_lead_to_them(page):
    parsed = Page(page)
    sections = [section["id"] for section in parsed.all("section")]
    assert sections == [
        "in-short",
        "worst-mistakes",
        "scores",
        "average-precision",
        "fields",
        "cells",
        "reliability-of-the-scores",
        "cell-counts",
        "subtype-of-images",
        "data",
        "training",
        "morphology",
        "configuration",
        "environment-and-timings",
    ]
    assert [link["href"][1:] for link in parsed.all("a")] == sections
    assert left_out(page) == {}


def test_the_scores_are_those_of_the_evaluation(page, found):
    text = re.sub(r"\s+", " ", Page(page).text)
    assert f"Average precision of outlines {100 * found['mask']['AP']:.1f} %" in text
    assert f"mAP as in the papers, at IoU 0.5 and score 0.3: {100 * found['paper']['mAP']:.1f} %" in text
    for kind in ("mask", "box"):
        averages = [f'<td class="figure">{100 * found[kind][key]:.1f}</td>' for key in ("AP", "AP50", "AP75")]
        assert "".join(averages) in page
    counts = np.array(found["cells"]["confusion"]["counts"])
    assert f"Found {counts[:-1, :-1].sum()} of {counts[:-1].sum()} cells" in text
    assert "At the run's threshold: a score of 0.3 or more." in text
    assert f'<span class="bad">Missed {counts[:-1, -1].sum()} (' in page
    assert f'<span class="bad">Made up {counts[-1].sum()} of ' in page
    error = found["cells"]["count_error"]
    assert f"Mean error {error['mean_absolute']:.2f} cells, bias {error['mean']:+.2f}." in text
    accuracy = found["images"]["rules"]["pathologists"]["accuracy"]
    assert f"Subtype of an image right {100 * accuracy['value']:.1f} %" in text
    assert f"95 % interval {100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %" in text


def test_the_page_names_the_rules_of_matching_and_writes_abbreviations_out(page):
    text = re.sub(r"\s+", " ", Page(page).text)
    for told in (
        "COCO's rule: each class by itself, detections of any score",
        "Matterport's rule: cells and detections of one class, field by field.",
        "Cells are matched whatever their class: the surest detection first, of those that score 0.3 or more",
        "PQ, SQ and RQ by the rule of Kirillov et al.: a pair is a cell and a detection of its class",
        "panoptic quality (PQ): SQ times RQ",
        "recognition quality (RQ)",
        "FN, false negatives: images of the class that were taken for another.",
        "FP, false positives: images of another that were taken for it.",
        "l3_count: the pathologists' rule, L3 only where 25% or more",
    ):
        assert told in text


def test_why_no_votes_were_taken_is_on_the_page():
    found = detection_scores([annotated([])], [detected([])], ("L1",), 0.3) | {
        "without_votes": "these fields are drawn"
    }
    assert image_section(found).absent == "these fields are drawn."


def test_settings_splits_versions_and_timings_are_on_the_page(page, fields):
    assert "<td>annotations</td><td>via.json</td>" in page
    assert "<td>seed</td><td>7</td>" in page
    row = "".join(f'<td class="figure">{count}</td>' for count in range(901, 906))
    assert f"<td>train</td>{row}" in page
    labels = np.concatenate([field.labels[~field.crowd] for field in fields[0]])
    row = "".join(f'<td class="figure">{count}</td>' for count in [6, *((labels == k).sum() for k in range(1, 5))])
    assert f"<td>val (scored)</td>{row}" in page
    assert "<td>devices</td><td>an abacus</td>" in page
    assert "<td>stops and resumptions</td><td>stop at step 2 (finished)</td>" in page


def test_a_curve_of_a_few_points_is_a_table(page):
    training = page.partition('id="training"')[2].partition("</section>")[0]
    assert "<img" not in training
    assert '<th class="figure">epoch 0.5</th>' in training
    assert re.findall(r'<td>([^<]+)</td><td>(\w+)</td><td class="figure">([\d.]+)</td>', training) == [
        ("loss", "training", "3"),
        ("mask", "training", "1"),
        ("mask/AP", "validation", "0.25"),
    ]


def test_a_curve_is_drawn_from_three_points_on(tmp_path):
    records = [{"kind": "train", "step": k, "epoch": k / 2, "loss": 3.0 - k} for k in range(1, 4)]
    records.append({"kind": "eval", "step": 3, "epoch": 1.5, "mask/AP": 0.25})
    html = write(tmp_path, [annotated([(CELL, 1)])], [detected([(CELL, 1, 0.9)])], ("cell",), records=records)
    training = html.partition('id="training"')[2].partition("</section>")[0]
    assert re.findall(r'alt="(.+?)"', training) == ["loss"]
    assert "<td>mask/AP</td><td>validation</td>" in training
    assert "<td>loss</td>" not in training


def test_one_matrix_of_votes_is_seen_and_those_of_other_rules_at_a_click(page):
    votes = page.partition('id="subtype-of-images"')[2].partition("</section>")[0]
    seen, folded, _ = votes.partition("<summary>The same by the other rules: weighted, l3_count</summary>")
    assert re.findall(r'<img [^>]*alt="(.+?)"', seen) == ["Confusion of images by the rule pathologists"]
    matrices = re.findall(r'<img [^>]*alt="(.+?)"', votes[len(seen) :])
    assert folded
    assert matrices == [f"Confusion of images by the rule {rule}" for rule in ("weighted", "l3_count")]


def test_where_no_image_was_voted_on_there_is_no_matrix(tmp_path):
    html = write(tmp_path, [annotated([(CELL, 1)])], [detected([(CELL, 1, 0.1)])], records=())
    votes = html.partition('id="subtype-of-images"')[2].partition("</section>")[0]
    assert "<img" not in votes
    assert '<td>pathologists</td><td class="figure">0.0</td>' in votes


def test_the_title_of_the_model_is_the_callers(tmp_path):
    arguments = ([annotated([(CELL, 1)])], [detected([(CELL, 1, 0.9)])], ("cell",))
    html = write(tmp_path, *arguments, name="night", model="Mask R-CNN on ConvNeXt")
    assert "Mask R-CNN on ConvNeXt. Scored: 1 fields of split val. Data: via.json. Written" in html
    assert "Run night" in html


def test_every_image_has_its_vote_and_its_counts(page, found):
    for image in found["images"]["images"]:
        votes = "".join(f"<td>{vote or 'undetected'}</td>" for vote in image["votes"].values())
        assert re.search(rf"<td>{image['name']}</td><td>{image['truth'] or 'none'}</td><td>[^<]*</td>{votes}", page)
    for field in found["cells"]["count_error"]["per_field"]:
        counts = f'<td class="figure">{field["annotated"]}</td><td class="figure">{field["found"]}</td>'
        assert f"<td>{field['name']}</td>{counts}" in page


def test_every_miss_and_false_alarm_is_shown_with_its_image_class_and_score(page, found):
    misses = [
        f"<b>{miss['field']}</b><br>missed: {miss['class']}<br>"
        + (f"best score there {miss['best_score']:.2f}" if miss["best_score"] else "no detection there")
        for miss in found["cells"]["misses"]
    ]
    assert cards(page, "Missed cells") == misses
    alarms = [
        f"<b>{alarm['field']}</b><br>false: {alarm['class']}, score {alarm['score']:.2f}"
        for alarm in found["cells"]["false_alarms"]
    ]
    assert cards(page, "False alarms") == alarms
    assert len(alarms) > run_pictures.WORST


def test_the_worst_mistakes_are_seen_at_once_and_the_others_at_a_click(page, found):
    for title, kind in (("Missed cells", "misses"), ("False alarms", "false_alarms")):
        others = len(found["cells"][kind]) - run_pictures.WORST
        seen, _, folded = page.partition(f"<summary>{title}: the other {others}</summary>")
        assert seen.rpartition(f"<h3>{title}</h3>")[2].count("<figcaption>") == run_pictures.WORST
        assert folded.partition("</details>")[0].count("<figcaption>") == others > 0


def test_a_cap_on_a_gallery_says_how_many_it_leaves_out(tmp_path, fields, found, monkeypatch):
    monkeypatch.setattr(run_pictures, "MOST_CELLS", 2)
    html = write(tmp_path, *fields, records=())
    assert len(cards(html, "Missed cells")) == len(cards(html, "False alarms")) == 2
    total = len(found["cells"]["false_alarms"])
    assert f"{total} in all; 2 are shown, {total - 2} are left out." in html


def test_names_and_settings_are_shown_and_never_become_tags(tmp_path):
    annotations = [annotated([(CELL, 1), (OTHER, 2)], name=HOSTILE)]
    detections = [detected([(CELL, 2, 0.9)], name=HOSTILE)]
    config = CONFIG | {HOSTILE: HOSTILE, "dataset": {"name": HOSTILE}}
    records = [*RECORDS, {"kind": "stop", "step": 3, "reason": HOSTILE}]
    rows = cell_rows(image_of(0), detections[0], (HOSTILE, f"{HOSTILE} 2"), 0.0)
    changes = {"config": config, "records": records, "rows": rows, "environment": {HOSTILE: HOSTILE}}
    html = write(tmp_path, annotations, detections, (HOSTILE, f"{HOSTILE} 2"), **changes)
    parsed = Page(html)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not {name for _, attributes in parsed.tags for name in attributes if name.startswith("on")}
    assert parsed.text.count("<script>alert(1)</script>") > 15
    assert "\\ud800 \\x1b[31m" in parsed.text


def test_the_page_loads_nothing_and_runs_nothing(page):
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    sources = [image["src"] for image in parsed.all("img")]
    assert all(re.match("data:image/(jpeg|svg\\+xml);base64,", source) for source in sources)
    for source in sources:
        if source.startswith("data:image/svg"):
            svg = base64.b64decode(source.partition(",")[2]).decode()
            assert not re.search(r"""(href|src)=["'](?!#|data:)|@import|<script|url\((?!#)""", svg)
    assert all(image["alt"] for image in parsed.all("img"))
    assert "url(" not in page
    assert "@import" not in page
    policy = next(meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none';")


def test_what_is_missing_is_left_out_and_said(tmp_path):
    annotations, detections = [annotated([(CELL, 1)])], [detected([(CELL, 1, 0.9)])]
    html = write(tmp_path, annotations, detections, ("cell",), single_cells=False, records=())
    reasons = left_out(html)
    assert list(reasons) == [
        "In short",
        "Worst mistakes",
        "Cells",
        "Reliability of the scores",
        "Cell counts",
        "Subtype of images",
        "Training",
        "Morphology",
        "Environment and timings",
    ]
    assert "metrics.jsonl" in reasons["Training"]
    assert reasons["Subtype of images"] == "no vote was taken."
    sections = [section["id"] for section in Page(html).all("section")]
    assert sections == ["scores", "average-precision", "fields", "data", "configuration", "left-out"]


def test_one_cell_and_no_cell_at_all_have_a_page(tmp_path):
    one = write(tmp_path, [annotated([(CELL, 1)])], [detected([(CELL, 1, 0.9)])], ("cell",), records=())
    assert "Found 1 of 1 cells (100.0 %)" in Page(one).text
    assert left_out(one)["Worst mistakes"] == "no cell was missed and none was made up."
    assert "1 cell<" in one
    none = write(tmp_path, [annotated([])], [detected([])], records=())
    assert "n/a" in Page(none).text
    assert left_out(none)["Fields"] == "no field has a cell, annotated or found."
    assert "No cell is L1" in Page(none).text


def test_fields_are_ranked_by_their_quality_and_none_is_shown_twice(page, fields):
    titles = ("Worst fields", "Best fields", "Median fields")
    ranked = {title: cards(page, title) for title in titles}
    qualities = {
        title: [float(number) for text in of for number in re.findall(r"quality ([\d.]+)", text)]
        for title, of in ranked.items()
    }
    shown = [re.findall("<b>(.+?)</b>", text)[0] for of in ranked.values() for text in of]
    assert sorted(shown) == [f"{number}.png" for number in range(5)]  # 5.png has a crowd region and what lies in it
    assert fields[0][5].crowd.all()
    assert qualities["Worst fields"] == sorted(qualities["Worst fields"])
    assert qualities["Best fields"] == sorted(qualities["Best fields"], reverse=True)
    assert max(qualities["Worst fields"]) <= min(qualities["Best fields"])
    assert page.count('<span class="shows">enhanced</span>') == len(shown)


def test_the_input_before_enhancement_is_shown_only_where_it_was_enhanced(tmp_path):
    arguments = ([annotated([(CELL, 1)])], [detected([(CELL, 1, 0.9)])], ("cell",))
    assert '<span class="shows">enhanced</span>' not in write(tmp_path, *arguments, records=())


def predictions(**changes) -> Predictions:
    content = {
        "names": tuple(f"crop{i}.png" for i in range(6)),
        "groups": ("a", "a", "b", "b", "c", "c"),
        "labels": np.array([0, 0, 0, 1, 1, 1]),
        "probabilities": np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.4, 0.6], [0.7, 0.3]]),
        "classes": ("myeloma", "other"),
    }
    return Predictions(**(content | changes))


def write_crops(folder: Path, of: Predictions, cut=None, **changes) -> str:
    found = classification_scores(of, bootstrap=10)
    write_classification_report(folder / "report.html", run_of(**changes), image_of, of, found, cut)
    return (folder / "report.html").read_text()


def test_the_page_names_the_folder_that_the_part_scored_is_from(tmp_path):
    dataset = {"crops": "a/train", "val_crops": "a/val", "test_crops": "a/test"}
    places = {scored: run_report._data_of(dataset, scored) for scored in ("train", "val", "test")}
    assert places == {"train": "a/train", "val": "a/val", "test": "a/test"}
    assert run_report._data_of(dataset | {"test_crops": "", "val_crops": ""}, "test") == "a/train"


def test_a_classifier_has_its_own_sections(tmp_path):
    html = write_crops(
        tmp_path, predictions(), cut={"margin": 0.25}, splits={"train": {"crops": 9, "myeloma": 5, "other": 4}}
    )
    sections = [section["id"] for section in Page(html).all("section")]
    assert sections == [
        "in-short",
        "worst-mistakes",
        "scores",
        "classification-report",
        "curves-and-confusion",
        "reliability-of-the-scores",
        "groups",
        "data",
        "training",
        "configuration",
        "environment-and-timings",
    ]
    text = re.sub(r"\s+", " ", Page(html).text)
    assert "Took 4 of 6 crops for what they are (66.7 %). Mistook 2 for another class." in text
    assert "Crops taken for what they are 66.7 % 4 of 6 crops" in text
    figures = "".join(f'<td class="figure">{figure}</td>' for figure in ("0.67", "0.67", "0.67", "3"))
    assert f"<td>myeloma</td>{figures}" in html
    assert "<td>margin</td><td>0.25</td>" in html
    assert cards(html, "Crops taken for another class") == [
        "<b>crop2.png</b><br>is myeloma<br>taken for other, 0.95",
        "<b>crop5.png</b><br>is other<br>taken for myeloma, 0.70",
    ]
    accuracies = re.findall(r"<td>([abc])</td><td class=\"figure\">2</td><td class=\"figure\">(\d)</td>", html)
    assert accuracies == [("b", "1"), ("c", "1"), ("a", "2")]


def test_a_classifier_without_mistakes_or_groups_says_so(tmp_path):
    rows = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 3)
    html = write_crops(tmp_path, predictions(groups=(), probabilities=rows))
    assert left_out(html) == {
        "Groups": "no group (field, slide, patient) of the crops is known.",
        "Worst mistakes": "every crop was taken for what it is.",
    }


def test_the_names_of_crops_never_become_tags(tmp_path):
    names = tuple(f"{HOSTILE}{i}" for i in range(6))
    parsed = Page(write_crops(tmp_path, predictions(names=names, groups=names)))
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count("<script>alert(1)</script>") == 2 + 6


def test_a_page_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    arguments = ([annotated([(CELL, 1)])], [detected([(CELL, 1, 0.9)])], ("cell",))
    before = write(tmp_path, *arguments, records=())

    def broken(*_) -> str:
        raise OSError("no room")

    monkeypatch.setattr(run_report, "write_atomically", broken)
    with pytest.raises(OSError, match="no room"):
        write(tmp_path, *arguments, records=())
    assert (tmp_path / "report.html").read_text() == before


# Tells the width that the page takes on a telephone; a console error of the page would be a line like it.
FRAME = """<!doctype html><body style="margin: 0">
<iframe id="page" src="report.html" style="border: 0; width: 400px; height: 3000px"></iframe>
<script>
addEventListener("load", () => {
  const page = document.getElementById("page").contentDocument
  const broken = [...page.images].filter((image) => !image.naturalWidth).length
  console.log(`width ${page.documentElement.scrollWidth}, broken images ${broken}`)
})
</script>"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_without_errors_and_as_narrow_as_a_telephone(tmp_path, page, scheme):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium or google-chrome is installed to look at the page with")
    (tmp_path / "report.html").write_text(page)
    (tmp_path / "frame.html").write_text(FRAME)
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={tmp_path / f'report_{scheme}.png'}",
        "--window-size=500,3000",
        (tmp_path / "frame.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = re.findall(r'CONSOLE.*?"(.*)", source', done.stderr)
    assert said == ["width 400, broken images 0"]
    shot = cv2.imread(str(tmp_path / f"report_{scheme}.png"))
    assert shot is not None
    assert (shot[5, 5].mean() > 128) == (scheme == "light")
