"""The papers' figures come from the papers' own confusion matrices, to the last digit."""

from tests.evaluate.papers import (
    REVANDA_CONFUSION,
    REVANDA_IMAGES,
    REVANDA_SENSITIVITY,
    SUVON_ACCURACY,
    SUVON_CONFUSION,
    SUVON_REPORT,
    revanda_scores,
    suvon_scores,
)
from wbcjax.enhance import METHODS
from wbcjax.evaluate.paper_tables import REVANDA_MAP, REVANDA_SUBTYPES


def percent(fraction: float) -> float:
    return round(100 * fraction, 2)


def test_revandas_figures_come_from_table_3():
    scores = revanda_scores()
    figures = [percent(scores[name]["value"]) for name in ("accuracy", "precision", "sensitivity")]
    assert figures == [83.72, 85.17, 81.61]
    assert figures == list(REVANDA_SUBTYPES["eff"])
    assert {name: percent(row["sensitivity"]) for name, row in scores["per_class"].items()} == REVANDA_SENSITIVITY
    assert scores["confusion"] == REVANDA_CONFUSION | {"undetected": [3, 8, 1]}  # FN and FP are worked out
    assert {name: row["images"] for name, row in scores["per_class"].items()} == REVANDA_IMAGES
    assert (scores["images"], scores["undetected"]) == (301, 12)


def test_no_other_definition_gives_revandas_figures():
    scores = revanda_scores()
    assert percent(252 / 289) == 87.20  # accuracy without the undetected images
    assert percent(scores["sensitivity_all"]["value"]) == 78.29
    recall_by_column = [percent(row["precision"]) for row in scores["per_class"].values()]
    assert recall_by_column == [81.43, 75.00, 99.08]  # what sensitivities would be if columns were the truth


def test_revandas_accuracies_are_whole_numbers_of_images():
    """Every accuracy of revandas table 2 is a whole number of the 301 images."""
    right = [round(figures.accuracy * 301 / 100) for figures in REVANDA_SUBTYPES.values()]
    assert right == [241, 232, 223, 223, 252]
    assert [percent(images / 301) for images in right] == [figures.accuracy for figures in REVANDA_SUBTYPES.values()]


def test_revandas_tables_are_by_the_names_of_the_enhancements():
    assert list(REVANDA_MAP) == list(REVANDA_SUBTYPES) == ["none", "he", "dhe", "clahe", "eff"]
    assert set(REVANDA_MAP) <= set(METHODS)


def test_suvons_figures_come_from_fig_12():
    scores = suvon_scores()
    assert round(scores["accuracy"]["value"], 4) == SUVON_ACCURACY
    assert scores["confusion"] == SUVON_CONFUSION
    report = scores["report"]
    rows = {**report["per_class"], "macro": report["macro"], "weighted": report["weighted"]}
    assert {name: {key: round(value, 2) for key, value in row.items()} for name, row in rows.items()} == SUVON_REPORT
    assert scores["counts"]["crops"] == 526
