"""The tables of the contrast experiment, on figures whose digits are known: the paper's own."""

from tests.evaluate.papers import revanda_scores
from wbcjax.evaluate.contrast_table import contrast_tables
from wbcjax.evaluate.image_scores import from_confusion
from wbcjax.evaluate.paper_tables import REVANDA_MAP
from wbcjax.system.terminal import plain


def row(**changes) -> dict:
    subtypes = revanda_scores()
    return {"mAP": 0.8365, "score_threshold": 0.9, "subtypes": subtypes, "steps": 2000, "stop": "finished"} | changes


def tables(rows: dict, protocol: str = "default", drawn: bool = False) -> str:
    return plain(*contrast_tables({"protocol": protocol, "drawn": drawn, "methods": rows}))


def line(text: str, start: str, number: int = 0) -> list[str]:
    """The entries of a line that starts so, the first such or a later one."""
    lines = [line for line in text.splitlines() if line.startswith(start)]
    return lines[number][len(start) :].split()


def test_the_papers_own_matrix_stands_beside_the_papers_own_figures():
    text = tables({"eff_minmax": row()})
    assert line(text, "EFF (eff_minmax)", 0) == ["83.65", "83.65"]
    found = line(text, "EFF (eff_minmax)", 1)
    assert found[0] == "83.72"
    low, high = map(float, found[1].split("-"))
    assert low < 83.72 < high
    assert found[2:] == ["85.17", "81.61", "12", "of", "301"]
    assert line(text, "EFF (eff_minmax)", 2) == ["83.72", "85.17", "81.61"]


def test_every_method_stands_beside_the_figures_that_the_paper_has_of_it():
    methods = ("none", "he", "dhe", "clahe", "eff", "eff_minmax")
    text = tables({method: row(mAP=0.5) for method in methods})
    names = ("without (none)", "HE (he)", "DHE (dhe)", "CLAHE (clahe)", "EFF (eff)", "EFF (eff_minmax)")
    papers = [*REVANDA_MAP.values(), 83.65]
    assert [line(text, name) for name in names] == [["50.00", f"{paper:.2f}"] for paper in papers]
    accuracies = [line(text, name, 2)[0] for name in names]
    assert accuracies == ["80.07", "77.08", "74.09", "74.09", "83.72", "83.72"]


def test_a_method_that_the_paper_has_not_stands_beside_dashes():
    text = tables({"he": row(), "reinhard": row(mAP=0.5), "macenko": row(mAP=0.25)})
    assert line(text, "Reinhard (reinhard)") == ["50.00", "-"]
    assert line(text, "Macenko (macenko)") == ["25.00", "-"]
    assert line(text, "Macenko (macenko)", 2) == ["-", "-", "-"]
    assert line(text, "HE (he)", 2)[0] == "77.08"


def test_the_papers_figures_never_stand_beside_those_of_drawn_fields():
    text = tables({"eff_minmax": row(mAP=0.5)}, drawn=True)
    assert line(text, "enhancement") == ["here"]
    assert line(text, "EFF (eff_minmax)") == ["50.00"]
    assert line(text, "EFF (eff_minmax)", 1)[-3:] == ["12", "of", "301"]
    assert "83.65" not in text
    assert "The fields are drawn: the scores say nothing about patients" in text
    assert "its own 301 images" not in text


def test_images_without_votes_leave_table_2_out_and_say_why():
    text = tables({"none": row(subtypes=None), "he": row(subtypes=None)}, drawn=True)
    assert "Table 2 is left out: the images have no subtype as their patients do" in text
    assert [name for name in text.splitlines() if name.startswith("HE")] == ["HE (he)         83.65"]


def test_columns_stay_below_their_headings():
    lines = tables({"none": row(), "eff_minmax": row()}).splitlines()
    for head in (line for line in lines if line.startswith("enhancement ")):
        position = lines.index(head)
        assert {len(line) for line in lines[position : position + 3]} == {len(head)}
        assert len(head) <= 80


def test_a_score_that_is_not_defined_is_said_to_be_so():
    undefined = {"value": None, "low": None, "high": None}
    nothing = from_confusion([[0] * 3] * 3, [2, 1, 1]) | {"precision": undefined, "sensitivity": undefined}
    nothing["accuracy"] = {"value": 0.0, "low": None, "high": None}
    text = tables({"none": row(mAP=None, subtypes=nothing)})
    assert line(text, "without (none)") == ["n/a", "81.96"]
    assert line(text, "without (none)", 1)[:7] == ["0.00", "n/a", "n/a", "n/a", "4", "of", "4"]


def test_the_papers_protocol_warns_that_it_tests_on_the_cells_it_trained_on_and_the_default_does_not():
    warning = "WARNING: as in the paper, the fields tested on show the very cells that were trained on"
    assert warning in tables({"none": row()}, "paper")
    assert warning in tables({}, "paper")  # before any run is finished, too
    assert "WARNING" not in tables({"none": row(), "he": row()})


def test_runs_of_unequal_length_are_told_apart():
    assert "Every run has trained 2000 steps." in tables({"none": row(), "he": row()})
    text = tables({"none": row(), "he": row(steps=900, stop="max_minutes")})
    assert "WARNING: the runs have trained for different numbers of steps" in text
    assert "none 2000, he 900" in text
    assert "max_minutes ended before its last step the training of: he." in text


def test_runs_of_unlike_confidence_are_not_taken_for_alike():
    assert "score 0.5 or 0.9)" in tables({"none": row(), "he": row(score_threshold=0.5)})
