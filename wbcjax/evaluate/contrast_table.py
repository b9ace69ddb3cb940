"""Tables 1 and 2 of Revanda et al., from runs that differ only in the enhancement of their images."""

from collections.abc import Iterator, Mapping
from typing import Any

from wbcjax.evaluate.figures import percent
from wbcjax.evaluate.paper_tables import REVANDA_MAP, REVANDA_SUBTYPES
from wbcjax.system.terminal import Block, Table, warned

Rows = Mapping[str, Mapping[str, Any]]

SCORES = ("accuracy", "precision", "sensitivity")
NAMES = {
    "none": "without",
    "he": "HE",
    "dhe": "DHE",
    "clahe": "CLAHE",
    "eff": "EFF",
    "eff_minmax": "EFF",
    "reinhard": "Reinhard",
    "macenko": "Macenko",
}
PAPER_ROWS = {"eff_minmax": "eff"}  # methods that the paper has under another name: it has one EFF

# What is tested on, by protocol.
PROTOCOLS = {
    "default": "Tested on fields that were held out of the training.",
    "paper": "WARNING: as in the paper, the fields tested on show the very cells that were trained on: training fields "
    "are flips of tested ones. These scores say nothing about fields of other cells; --protocol default keeps them "
    "apart.",
}


def contrast_tables(results: Mapping[str, Any]) -> list[Block]:
    """Both tables, and remarks that a comparison of their rows needs; the paper's figures beside those of real images.

    Args:
        results: `protocol`, one of PROTOCOLS; `drawn`, whether the fields are drawn ones, beside which the paper's
            figures are not shown; `methods`, by the method of enhancement: `mAP` and `score_threshold` of the cells,
            `subtypes`, from `image_scores`, None where no votes were taken, and of the training `steps` and `stop`, the
            reason for its end. A score that is not defined is None.
    """
    rows, protocol, drawn = results["methods"], results["protocol"], results["drawn"]
    if not rows:
        return ["no run is finished yet", warned(PROTOCOLS[protocol])]
    remarks = [warned(remark) for remark in _remarks(rows, protocol, drawn)]
    return [_map_table(rows, drawn), *_subtype_tables(rows, drawn), remarks]


def _map_table(rows: Rows, drawn: bool) -> Table:
    thresholds = sorted({row["score_threshold"] for row in rows.values()})
    title = f"Table 1: mAP of cells, % (IoU 0.5, score {' or '.join(f'{value:g}' for value in thresholds)})"
    entries = []
    for method, row in rows.items():
        paper = () if drawn else (f"{REVANDA_MAP[of]:.2f}" if (of := _of_paper(method)) in REVANDA_MAP else "-",)
        entries.append((_name(method), percent(row["mAP"], 2), *paper))
    return Table(title, ("enhancement", "here", *(() if drawn else ("paper",))), tuple(entries))


def _subtype_tables(rows: Rows, drawn: bool) -> Iterator[Block]:
    if any(row["subtypes"] is None for row in rows.values()):
        yield "Table 2 is left out: the images have no subtype as their patients do, so that no votes were taken."
        return
    here = []
    for method, row in rows.items():
        subtypes = row["subtypes"]
        accuracy, precision, sensitivity = (percent(subtypes[score]["value"], 2) for score in SCORES)
        low, high = (percent(subtypes["accuracy"][end], 2) for end in ("low", "high"))
        interval = low if low == "n/a" else f"{low}-{high}"
        undetected = f"{subtypes['undetected']} of {subtypes['images']}"
        here.append((_name(method), accuracy, interval, precision, sensitivity, undetected))
    head = ("enhancement", "accuracy", "95 % interval", "precision", "sensitivity", "undetected")
    yield Table("Table 2: subtype of images by the pathologists' vote, %", head, tuple(here))
    if not drawn:
        paper = tuple((_name(method), *_paper_subtypes(method)) for method in rows)
        yield Table("Table 2 as the paper has it, %", ("enhancement", *SCORES), paper)


def _paper_subtypes(method: str) -> list[str]:
    """The paper's accuracy, precision and sensitivity; a dash for each of a method that the paper has not."""
    figures = REVANDA_SUBTYPES.get(_of_paper(method))
    return ["-"] * 3 if figures is None else [f"{figure:.2f}" for figure in figures]


def _remarks(rows: Rows, protocol: str, drawn: bool) -> Iterator[str]:
    yield PROTOCOLS[protocol]
    if drawn:
        yield "The fields are drawn: the scores say nothing about patients, and the paper's are not set beside them."
    else:
        yield "The paper's figures are of its own 301 images, which its 60 training images are flips of."
    yield "One training each, from one seed: differences smaller than the interval speak for no method."
    steps = {method: row["steps"] for method, row in rows.items()}
    if len(set(steps.values())) == 1:
        yield f"Every run has trained {next(iter(steps.values()))} steps."
    else:
        listed = ", ".join(f"{method} {count}" for method, count in steps.items())
        yield f"WARNING: the runs have trained for different numbers of steps, which their scores show too: {listed}."
    if cut := [method for method, row in rows.items() if row["stop"] == "max_minutes"]:
        yield f"config.train.max_minutes ended before its last step the training of: {', '.join(cut)}."


def _name(method: str) -> str:
    return f"{NAMES[method]} ({method})"


def _of_paper(method: str) -> str:
    return PAPER_ROWS.get(method, method)
