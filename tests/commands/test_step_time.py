"""The expected time of a step: the formulas, and what becomes of them at the edges."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.commands.plan.loops import Trips
from wbcjax.commands.plan.step_cost import StepCost
from wbcjax.commands.plan.step_report import cost_tables, fit_lines, scaling_table
from wbcjax.commands.plan.step_time import HARDWARE, Hardware, hardware, step_time
from wbcjax.system.terminal import Attention, plain

COST = StepCost(
    devices=8,
    images=2,
    dtype="float32",
    parameters=60_000_000,
    trained=50_000_000,
    flops=4_000_000_000_000,
    bytes_moved=20_000_000_000,
    bytes_reduced=200_000_000,
    trips=Trips(10, 1),
    arguments=900_000_000,
    batch=200_000_000,
    outputs=700_000_000,
    aliased=600_000_000,
    temporaries=9_000_000_000,
    compiler="cpu",
)
DEVICE = Hardware({"float32": 100.0, "bfloat16": 200.0}, 1000.0, 16.0, 100.0)


def test_a_step_takes_its_slower_part_and_the_all_reduce():
    """A step is the longer of computing and reading and then the all reduce."""
    time = step_time(COST, DEVICE, 4, utilisation=0.4)
    assert time.compute == pytest.approx(4e12 / (100e12 * 0.4))
    assert time.memory == pytest.approx(20e9 / 1000e9)
    assert time.reduce == pytest.approx(2 * 3 / 4 * 200e6 / 100e9)
    assert time.total == pytest.approx(0.1 + 0.003)
    assert step_time(COST, DEVICE._replace(bandwidth=100.0), 1, 0.4).total == pytest.approx(0.2)
    assert step_time(COST._replace(dtype="bfloat16"), DEVICE, 1, 0.4).total == pytest.approx(0.05)


def test_devices_beyond_those_tied_closely_agree_through_the_network():
    in_groups = DEVICE._replace(together=8, network=50.0)
    near, far = 2 * 7 / 8 * 200e6 / 100e9, 2 * 3 / 4 * 200e6 / 50e9
    assert step_time(COST, in_groups, 8, 0.4).reduce == pytest.approx(near)
    assert step_time(COST, in_groups, 32, 0.4).reduce == pytest.approx(near + far)


@given(st.sampled_from(sorted(HARDWARE)), st.integers(0, 9), st.sampled_from(["float32", "bfloat16"]))
def test_twice_the_devices_do_more_but_never_twice_as_much(name: str, power: int, dtype: str):
    cost = COST._replace(dtype=dtype)
    few, many = (step_time(cost, HARDWARE[name], n, 0.3).total for n in (2**power, 2 ** (power + 1)))
    assert few <= many < 2 * few


def test_figures_given_replace_those_of_the_hardware_named():
    assert hardware(None, None, None, None, 16.0) is None
    assert hardware("v5e", None, None, None, None) == HARDWARE["v5e"]
    changed = hardware("h100", 500.0, None, 25.0, 60.0)
    assert changed == Hardware({"float32": 500.0, "bfloat16": 500.0}, 3350, 60.0, 25.0, 0, 400)
    assert hardware(None, 1.0, 2.0, 3.0, None) == Hardware({"float32": 1.0, "bfloat16": 1.0}, 2.0, 0.0, 3.0)
    with pytest.raises(ValueError, match="give --peak-tflops, --bandwidth and --interconnect together"):
        hardware(None, 1.0, None, None, None)


def test_the_memory_adds_up_in_the_text():
    told = plain(*cost_tables(COST))
    assert COST.memory == 900e6 + 700e6 - 600e6 + 9e9 + 2 * 200e6
    for row in (
        ("together", "10.400", "GB"),
        ("FLOPs on 8 devices", "32.000", "10^12"),
        ("all-reduced", "0.200", "GB"),
        ("input sent to each device", "200.0", "MB"),
        ("passes of loops, one by one", "10", "and 1 a round"),
    ):
        assert re.search(r"^{} +{}  {}$".format(*map(re.escape, row)), told, re.MULTILINE), row
    assert "By the compiler for cpu" in told
    (alone,) = (
        line for line in plain(*cost_tables(COST._replace(devices=1))).splitlines() if line.startswith("all-reduced")
    )
    assert alone.split() == ["all-reduced", "0.000", "GB"]
    known = plain(*cost_tables(COST._replace(trips=Trips(10, 0)))).splitlines()
    assert [line.split()[-1] for line in known if line.startswith("passes of loops")] == ["10"]


def test_what_does_not_fit_is_told_with_what_may_help():
    assert fit_lines(COST, 16.0, None, 1) == ["It fits 16 GB: 5.60 GB are left."]
    again = COST._replace(temporaries=3_000_000_000, flops=5_000_000_000_000)
    told = plain(fit_lines(COST, 8.0, again, 1))
    assert told.startswith("It does not fit 8 GB: 2.40 GB too much.")
    assert isinstance(fit_lines(COST, 8.0, again, 1)[0], Attention)
    assert "--config.model.remat=True: 4.40 GB, which fits, for 25% more FLOPs" in told
    assert "--config.model.dtype=bfloat16" in told
    assert "--config.train.accumulate=2" in told
    assert "4.40 GB, which does not fit either" in plain(fit_lines(COST, 4.0, again, 1))
    alone = plain(fit_lines(COST._replace(images=1, dtype="bfloat16"), 8.0, None, 1))
    assert not {"accumulate", "dtype"} & set(alone.replace(".", " ").replace("=", " ").split())
    assert "canvas" in alone
    assert "accumulate=4" in plain(fit_lines(COST._replace(images=4), 8.0, None, 2))
    assert "accumulate" not in plain(fit_lines(COST, 8.0, None, 2))


def test_the_scaling_curve_states_its_assumptions():
    """The scaling curve runs from 1 to 1024 devices and states its assumptions."""
    lines = plain(scaling_table(COST, DEVICE, "a device", 0.4)).splitlines()
    rows = [line.split() for line in lines[3:14]]
    assert [row[0] for row in rows] == [str(2**power) for power in range(11)]
    assert rows[0] == ["1", "2", "100.0", "0.00", "20", "100.0"]
    assert rows[-1] == ["1024", "2048", "104.0", "4.00", "19693", "96.2"]
    told = " ".join(lines[14:])
    assert "calculated and not measured" in lines[0]
    assert all(figure in told for figure in ("100 TFLOP/s at 40%", "1000 GB/s", "100 GB/s between devices"))
