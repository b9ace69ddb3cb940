"""Sets as Parquet, where there is no ArrayRecord: the same records."""

import sys

import numpy as np
import pytest

from tests.input.sets import write_via_set
from wbcjax.input.array_records import record_format
from wbcjax.input.field_set import sources


def same(one, other) -> bool:
    """Whether two records agree to the byte and the type."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return type(one) is type(other) and np.array_equal(one, other) and np.asarray(one).dtype == np.asarray(other).dtype


def test_a_set_without_array_record_has_the_same_records(tmp_path, monkeypatch):
    config = write_via_set(tmp_path, cells=[2, 0, 3, 0, 1])
    assert record_format() == "array_record"
    as_array_records = sources(config, tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "array_record", None)
    assert record_format() == "parquet"
    as_parquet = sources(config, tmp_path / "cache")  # beside the other, as of Windows and WSL2 with one cache
    assert list(as_parquet) == list(as_array_records)
    for part, found in as_parquet.items():
        assert found.names == as_array_records[part].names
        assert len(found) == len(as_array_records[part])
        for row in range(len(found)):
            assert same(found._records[row], as_array_records[part]._records[row])
    files = {path.suffix or path.name for path in (tmp_path / "cache/parquet").rglob("*-of-*")}
    assert files
    assert all("parquet" in name for name in files)
    again = sources(config, tmp_path / "cache")["train"]  # the built one
    np.testing.assert_array_equal(again.field(0).image(), as_array_records["train"].field(0).image())


def test_out_of_range_rows_of_a_parquet_set_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record", None)
    found = sources(write_via_set(tmp_path, cells=[1, 1]), tmp_path / "cache")["train"]
    with pytest.raises(IndexError):
        found._records[len(found)]
