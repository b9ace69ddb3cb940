"""Sections in the report of every run: settings, course of the training, environment and timings."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from wbcjax.evaluate.figures import percent
from wbcjax.report.classification_figures import training_figure
from wbcjax.report.detection_figures import figure_uri, logged_quantities
from wbcjax.report.run_page import Chart, Charts, Folded, Section
from wbcjax.system.run_files import METRICS
from wbcjax.system.terminal import Table

Records = Sequence[Mapping[str, Any]]
PARTS = {"train": "training", "eval": "validation"}  # by the kind of a record
CURVE = 3  # points at least; fewer make no curve


def config_section(config: Mapping[str, Any]) -> Section:
    """Every setting of the run, folded; a table for each part of the config."""
    parts = {name: value for name, value in config.items() if isinstance(value, Mapping)}
    single = {name: value for name, value in config.items() if name not in parts}
    tables = [Table("", (), tuple(_settings(single)))] if single else []
    tables += [Table(name, (), tuple(_settings(value))) for name, value in parts.items()]
    count = sum(len(table.rows) for table in tables)
    folded = (Folded(f"All {count} settings", tuple(tables)),) if count else ()
    return Section("Configuration", folded, "the run has no settings.")


def training_section(records: Records) -> Section:
    """Each loss and each validation score over the epochs: those of a few points in a table, the others in a panel."""
    losses, scores = logged_quantities(records)
    points = {name: {part: _points(records, kind, name) for kind, part in PARTS.items()} for name in (*losses, *scores)}
    curves = [name for name, of in points.items() if max(map(len, of.values())) >= CURVE]
    few = {(name, part): of[part] for name, of in points.items() if name not in curves for part in of if of[part]}
    charts = tuple(Chart(name, figure_uri(training_figure(records, [name]))) for name in curves)
    blocks = (*[Charts(charts, small=True)] * bool(charts), *[_point_table(few)] * bool(few))
    return Section("Training", blocks, f"the run's folder has no {METRICS} with a record of training.")


def circumstances_section(environment: Mapping[str, str], records: Records, config: Mapping[str, Any]) -> Section:
    """Versions and devices, and timings. Either is left out where nothing is known of it."""
    timings = _timings(records, config.get("train", {}).get("batch_size"))
    tables = [
        Table(title, (), tuple(rows)) for title, rows in (("Environment", environment.items()), ("Timings", timings))
    ]
    shown = tuple(table for table in tables if table.rows)
    return Section("Environment and timings", shown, "neither is known.")


def _points(records: Records, kind: str, name: str) -> dict[float, float]:
    """Values by epoch; one that was not finite is null in the log, and left out."""
    of_kind = [record for record in records if record["kind"] == kind]
    return {record["epoch"]: record[name] for record in of_kind if record.get(name) is not None}


def _point_table(points: Mapping[tuple[str, str], Mapping[float, float]]) -> Table:
    """The values of each quantity and part, with a column for each epoch."""
    epochs = sorted({epoch for of in points.values() for epoch in of})
    rows = [
        (name, part, *(f"{of[epoch]:.4g}" if epoch in of else "" for epoch in epochs))
        for (name, part), of in points.items()
    ]
    return Table("", ("", "of", *(f"epoch {epoch:.4g}" for epoch in epochs)), tuple(rows))


def of_counts(parts: Sequence[tuple[str, int]]) -> str:
    """Counts in a line, without zeros: "3 L1, 1 L3"."""
    return ", ".join(f"{count} {name}" for name, count in parts if count)


def number(value: float | None, digits: int, signed: bool = False) -> str:
    """A number, or "n/a" where it is not defined."""
    if value is None or math.isnan(value):
        return "n/a"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def with_interval(score: Mapping[str, float | None]) -> str:
    """A percentage with its 95 % interval, where it has one."""
    low, high = percent(score["low"]), percent(score["high"])
    return percent(score["value"]) if low == "n/a" else f"{percent(score['value'])} ({low} to {high})"


def interval(score: Mapping[str, float | None]) -> str:
    """The 95 % interval as the end of a sentence, "" where there is none."""
    low, high = percent(score["low"]), percent(score["high"])
    return "" if low == "n/a" else f"; 95 % interval {low} to {high} %"


def sentence_of(text: str) -> str:
    """A remark of the scores with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def _settings(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            rows += _settings(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


def _timings(records: Records, batch_size: int | None) -> list[tuple[str, str]]:
    training = [record for record in records if record["kind"] == "train" and record.get("images_per_second")]
    if not training:
        return []
    speeds = [record["images_per_second"] for record in training]
    rows = [
        ("training steps", f"{training[-1]['step']}"),
        ("epochs", f"{training[-1]['epoch']:.1f}"),
        ("images a second, median", f"{np.median(speeds):.2f}"),
    ]
    if batch_size:
        steps = np.diff([0, *(record["step"] for record in training)])
        seconds = float(np.sum(steps * batch_size / np.array(speeds)))
        rows.append(("time in training steps", f"{timedelta(seconds=round(seconds))}"))
    stops = [record for record in records if record["kind"] in ("stop", "resume")]
    listed = [f"{record['kind']} at step {record['step']}" + _reason(record) for record in stops]
    return [*rows, ("stops and resumptions", ", ".join(listed))] if listed else rows


def _reason(record: Mapping[str, Any]) -> str:
    return f" ({record['reason']})" if record.get("reason") else ""
