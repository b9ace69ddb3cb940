"""Where in a run's folder things are."""

from pathlib import Path

from wbcjax.runs.folder import evaluation_folder, report_path

RUN = Path("runs/x")


def test_the_best_weights_on_val_have_the_runs_page_and_others_their_own():
    assert report_path(RUN, evaluation_folder(RUN, "val", "best")) == RUN / "report.html"
    assert report_path(RUN, evaluation_folder(RUN, "val", "latest")) == RUN / "evaluation/val_latest/report.html"
    assert report_path(RUN, evaluation_folder(RUN, "train", "best")) == RUN / "evaluation/train/report.html"
    assert report_path(RUN, Path("elsewhere")) == Path("elsewhere/report.html")
