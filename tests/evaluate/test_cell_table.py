import numpy as np

from tests.evaluate.make import annotated, detected
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.cell_table import WORST, cell_table, in_words, worst_fields
from wbcjax.system.terminal import Attention, Table, plain


def test_the_table_shows_the_scores_that_were_computed():
    cells = annotated(
        [((0, 0, 10, 10), 1), ((20, 0, 30, 10), 2)], crowds=[((0, 20, 20, 40), 1)], boxes=[((40, 0, 50, 10), 1)]
    )
    found = [((0, 0, 10, 8), 1, 0.9), ((30, 20, 40, 30), 2, 0.8), ((5, 25, 9, 29), 1, 0.7), ((20, 0, 30, 10), 1, 0.7)]
    scores = cell_scores([cells], [detected(found)], ("L1", "L2"), 0.5)
    assert in_words(scores) == [
        "Found 2 of 3 cells (66.7 %), 1 of them as another class.",
        "Missed 1 (33.3 %).",
        "Made up 1 of 4 reported (25.0 %): no cell is there.",
        "At the run's threshold: a score of 0.5 or more.",
    ]
    assert [isinstance(sentence, Attention) for sentence in in_words(scores)] == [False, True, True, False]
    lines = plain(*cell_table(scores)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("is / taken for"))
    assert [line.split() for line in lines[start : start + 4]] == [
        ["is", "/", "taken", "for", "L1", "L2", "background"],
        ["L1", "1", "0", "1"],
        ["L2", "1", "0", "0"],
        ["background", "0", "1", "0"],
    ]
    assert "1 detections lie in crowd regions and are neither right nor wrong" in lines
    start = lines.index("Outlines of cells, %") + 2
    assert [line.split() for line in lines[start : start + 4]] == [
        ["PQ", "SQ", "RQ", "SegPC", "mIoU", "any", "score", "AP50"],
        ["all", "classes", "26.7", "80.0", "33.3", "90.0", "90.0"],
        ["L1", "53.3", "80.0", "66.7", "80.0", "80.0", "50.5"],
        ["L2", "0.0", "n/a", "0.0", "0.0", "0.0", "0.0"],
    ]
    assert lines[-4:] == [
        # 80 and 100 pixels shared; 100 of either cell, 100 of the false detection.
        "aggregated Jaccard index (AJI) of a field, mean, %: 60.0",
        "count error of a field, found less annotated: mean +0.00, mean absolute 0.00",
        "1 cells have no outline: PQ, SQ, RQ, SegPC mIoU and AJI leave them out",
        "no outlined L2 is found with an IoU over 0.5: its SQ is not defined",
    ]
    assert max(len(line) for line in lines if "  " in line) <= 80  # of tables


def test_a_cell_found_as_another_class_is_no_miss_and_no_false_alarm():
    """Both rules' figures stood side by side: not found as of its class, yet no miss."""
    cells = [annotated([((0, 0, 10, 10), 1), ((20, 0, 30, 10), 2)])]
    found = [detected([((0, 0, 10, 10), 2, 0.9), ((20, 0, 30, 10), 2, 0.9)])]
    scores = cell_scores(cells, found, ("L1", "L2"), 0.5)
    assert in_words(scores) == [
        "Found 2 of 2 cells (100.0 %), 1 of them as another class.",
        "Missed 0 (0.0 %).",
        "Made up 0 of 2 reported (0.0 %): no cell is there.",
        "At the run's threshold: a score of 0.5 or more.",
    ]
    assert not any(isinstance(sentence, Attention) for sentence in in_words(scores))
    assert worst_fields(scores) == []


def test_fields_with_the_most_mistakes_are_named_first():
    cell, other, third = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
    cells = [annotated([(cell, 1), (other, 1)], name=f"{name}.png") for name in "abcdefgh"]
    found = [detected([(cell, 1, 0.9)], name=f"{name}.png") for name in "abcdefg"]  # one missed of each
    found.append(detected([(third, 1, 0.9)], name="h.png"))  # two missed, one made up
    (table,) = worst_fields(cell_scores(cells, found, ("L1",), 0.5))
    assert isinstance(table, Table)
    assert table.title == "Fields with the most mistakes: 5 of 8 that have any"
    assert table.rows[:2] == (("h.png", "2", "1"), ("a.png", "1", "0"))
    assert len(table.rows) == WORST


def test_words_on_no_cells_and_no_detections_have_no_shares():
    assert in_words(cell_scores([annotated([])], [detected([])], ("L1",), 0.5)) == [
        "Found 0 of 0 cells.",
        "Missed 0.",
        "Made up 0 of 0 reported: no cell is there.",
        "At the run's threshold: a score of 0.5 or more.",
    ]


def test_every_abbreviation_is_written_out_and_the_rule_of_its_matching_named():
    text = " ".join(plain(*cell_table(cell_scores([annotated([])], [detected([])], ("L1",), 0.7))).split())
    assert "Cells are matched whatever their class: the surest detection first, of those that score 0.7 or more" in text
    for written_out in (
        "PQ, panoptic quality, is SQ x RQ",
        "SQ, segmentation quality: the mean IoU of the pairs",
        "RQ, recognition quality: pairs over",
        "Kirillov et al.'s pairs: of a cell and a detection of its class",
        "SegPC mIoU: of each cell the best IoU",
        "aggregated Jaccard index (AJI)",
        "IoU (shared area over joint area)",
    ):
        assert written_out in text


def test_a_table_of_nothing_says_why_it_is_empty():
    result = cell_scores([], [], ("cell",), 0.9)
    assert np.isnan(result["segmentation"]["aji"])
    text = plain(*cell_table(result))
    assert "nan" not in text
    assert text.splitlines()[-1] == "there are no fields: no score is defined"
    assert ["cell", *["n/a"] * 6] in [line.split() for line in text.splitlines()]
