"""The benchmarks' own machinery: turns, medians, processes, and tables from JSON. What is measured is not tested."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import render, roof
from benchmarks.results import Result, load, save, summary
from benchmarks.timing import WARM_UP, Contestant, Record, Task, Time, apart, contest, in_turns, median, timed


def test_contestants_take_turns_until_their_seconds_are_spent():
    """Contestants take turns and the slow one drops out when its seconds are spent."""
    order = []

    def run(name: str, wall: float) -> Time:
        order.append(name)
        return Time(wall, 0.0)

    times = in_turns({"slow": lambda: run("slow", 6.0), "quick": lambda: run("quick", 1.0)}, rounds=3, seconds=10.0)
    assert order == ["slow", "quick"] * (WARM_UP + 1) + ["quick"] * 2
    assert {name: len(taken) for name, taken in times.items()} == {"slow": WARM_UP + 1, "quick": WARM_UP + 3}


def test_a_slow_contestant_is_still_timed_once():
    """Even a run longer than its seconds is timed once after the warm up."""
    times = in_turns({"slow": lambda: Time(100.0, 0.0)}, rounds=3, seconds=10.0)
    assert len(times["slow"]) == WARM_UP + 1


def test_a_run_is_timed_on_both_clocks():
    """A run is timed from just before to just after it on both clocks."""
    events: list[str] = []
    readings = iter([(10.0, 1.0), (12.5, 5.0)])

    def read() -> tuple[float, float]:
        events.append("clock")
        return next(readings)

    assert timed(lambda: events.append("task"), read) == Time(2.5, 4.0)
    assert events == ["clock", "task", "clock"]


def test_the_median_is_taken_of_each_clock_by_itself():
    assert median([Time(1.0, 9.0), Time(2.0, 3.0), Time(7.0, 5.0)]) == Time(2.0, 5.0)


def test_a_summary_gives_medians_and_how_many_times_ours_they_are():
    records = {
        "ours": Record(9.0, [Time(1.0, 2.0), Time(2.0, 3.0), Time(4.0, 4.0)], 10.0, 120.0),
        "theirs": Record(9.0, [Time(3.0, 5.0)], 10.0, 80.0),
    }
    _, ours, theirs = (line.split() for line in summary(records).splitlines())
    assert ours == ["ours", "2.000", "1.000", "4.000", "3.000", "120", "1.00"]
    assert theirs == ["theirs", "3.000", "3.000", "3.000", "5.000", "80", "1.50"]


def allocating(megabytes: int) -> Task:
    return lambda: np.ones(megabytes * 2**17).sum()


@pytest.mark.slow
def test_each_contestant_is_measured_in_a_process_of_its_own():
    contestants = {
        "small": Contestant(allocating, {"megabytes": 1}),
        "large": Contestant(allocating, {"megabytes": 300}),
    }
    records = contest(contestants, 2)
    assert [len(record.times) for record in records.values()] == [2, 2]
    assert all(time.wall > 0 for record in records.values() for time in record.times)
    if Path("/proc/self/status").exists():
        assert records["large"].peak_mb - records["small"].peak_mb > 250


@pytest.mark.slow
def test_contestants_too_large_to_live_side_by_side_run_twice_over(tmp_path: Path):
    contestants = {name: Contestant(noting, {"path": tmp_path / "log", "name": name}) for name in "ab"}
    records = contest(contestants, 2, together=False)
    each = WARM_UP + 1  # a warm-up and half of the rounds
    assert (tmp_path / "log").read_text() == ("a" * each + "b" * each) * 2
    assert [len(record.times) for record in records.values()] == [2, 2]


def noting(path: Path, name: str) -> Task:
    def run() -> None:
        with path.open("a") as file:
            file.write(name)

    return run


def failing() -> Task:
    return lambda: os._exit(3)


@pytest.mark.slow
def test_a_contestant_that_dies_is_told_and_does_not_hang():
    with pytest.raises(RuntimeError, match="status 3"):
        contest({"dying": Contestant(failing)}, 1)


def test_a_function_is_run_apart():
    assert apart(os.getpid) != os.getpid()


def record(*walls: float, peak: float = 100.0) -> Record:
    return Record(9.0, [Time(wall, 2 * wall) for wall in walls], 50.0, peak)


SECTIONS = {
    "roof": [Result("matrix product", {"JAX": record(2.0, 3.0), "NumPy": record(4.0, 4.0)}, flops=100e9)],
    "mask_rcnn": [
        Result("inference, 512", {"ours": record(1.0, 2.0, 4.0), "torchvision": record(5.0)}, flops=20e9),
        Result("inference, 512", {"ours": record(1.0), "torchvision": record(3.0)}, tuned=True, flops=20e9),
    ],
    "pipeline": [
        Result("demo", {"step": record(2.0)}, items=4),
        Result("demo", {"input": record(1.0)}, items=20),
    ],
    "input": [Result("fields", {"kept": record(1.0, 2.0, 4.0), "decoded": record(5.0)}, items=8)],
    "compiling": [Result("a program", {"empty": record(0.5), "filled": record(0.25)})],
    "growth": [
        Result(f"{work}, side", {"ours": record(1.0 * x), "torchvision, channels_last": record(2.0 * x)}, x=x)
        for work in ("inference", "train")
        for x in (1.0, 2.0)
    ],
}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    for name, results in SECTIONS.items():
        save(tmp_path / "out" / f"{name}.json", results)
    return tmp_path / "out"


def test_results_are_read_as_they_were_written(measured: Path):
    environment, results = load(measured / "mask_rcnn.json")
    assert results == SECTIONS["mask_rcnn"]
    assert environment["libraries"].startswith("jax ")


def test_an_interrupt_keeps_the_results_that_were_there(tmp_path: Path):
    def interrupted() -> Iterator[Result]:
        yield SECTIONS["roof"][0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "roof.json", interrupted())
    assert load(tmp_path / "roof.json")[1] == SECTIONS["roof"]


def test_a_file_of_something_else_is_named(tmp_path: Path):
    (tmp_path / "roof.json").write_text('{"results": []}')
    with pytest.raises(ValueError, match=r"roof\.json holds no results"):
        load(tmp_path / "roof.json")


def test_tables_give_medians_ratios_to_ours_and_the_share_of_the_roof():
    assert roof.peak(SECTIONS["roof"]) == 50e9
    ours, theirs = (row.split(" | ") for row in render.comparison(SECTIONS["mask_rcnn"], 50e9).splitlines()[2:])
    assert ours[2:5] == ["2.00 s (1.00 s to 4.00 s)", "", "4.00 s"]
    assert theirs[2:5] == ["5.00 s (5.00 s to 5.00 s)", "2.50", "10.0 s"]
    assert theirs[6] == "3.00"
    assert ours[-1] == "20 % / 40 % |"
    assert render.rates(SECTIONS["pipeline"], None).splitlines()[2] == "| demo | 4 | 20.0 | 2.0 | 10.0 | 9 % |"
    kept, decoded = render.input_rates(SECTIONS["input"], None).splitlines()[2:]
    assert kept == "| fields | kept | 4.0 | 2.0 to 8.0 | 500 ms |"
    assert decoded == "|  | decoded | 1.6 | 1.6 to 1.6 | 1.25 s |"
    assert (
        render.compile_times(SECTIONS["compiling"], None).splitlines()[2].startswith("| a program | 9.00 s | 9.00 s |")
    )


def test_writing_again_replaces_the_tables_and_leaves_the_prose(measured: Path, tmp_path: Path):
    docs = tmp_path / "docs"
    render.write_docs(measured, docs)
    page, plot = docs / "performance.md", docs / "images" / "growth_train.svg"
    first, picture = page.read_text(), plot.read_bytes()
    page.write_text(first.replace("## roof", "## The roof\n\nProse."))
    save(measured / "roof.json", SECTIONS["roof"])
    render.write_docs(measured, docs)
    assert page.read_text() == first.replace("## roof", "## The roof\n\nProse.")
    assert plot.read_bytes() == picture


def test_a_page_without_a_place_for_a_table_is_refused_and_not_touched(measured: Path, tmp_path: Path):
    page = tmp_path / "performance.md"
    page.write_text("Prose.")
    with pytest.raises(ValueError, match=r"performance\.md has no place for roof"):
        render.write_docs(measured, tmp_path)
    assert page.read_text() == "Prose."


@pytest.mark.parity
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra `parity`")
def test_ours_and_torchvision_do_the_same_work_on_operations():
    import torch

    from benchmarks import ops

    torch.manual_seed(0)
    kept, valid = ops.our_nms()()
    np.testing.assert_array_equal(np.asarray(kept)[np.asarray(valid)], ops.their_nms()().numpy())
    ours, (our_back,) = ops.our_align(levels=(5,))()
    theirs, (their_back,) = ops.their_align(levels=(5,))()
    np.testing.assert_allclose(ours, theirs.detach().permute(0, 2, 3, 1).numpy(), atol=1e-4)
    np.testing.assert_allclose(our_back, their_back[0].permute(1, 2, 0).numpy(), rtol=1e-4, atol=1e-3)
