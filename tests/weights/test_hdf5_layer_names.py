"""The process that reads layers' names from an HDF5 file, on systems that differ from Linux."""

import sys

import pytest

from wbcjax.weights import hdf5_layer_names
from wbcjax.weights.hdf5_layer_names import layer_names


def test_without_the_module_resource_as_on_windows_memory_has_no_limit(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    hdf5_layer_names._limit_memory()


@pytest.mark.parametrize("ending", ["\\n", "\\r\\n"])
def test_names_are_read_whatever_ends_a_line_of_the_process(tmp_path, monkeypatch, ending):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf \'ready{ending}{{"layers/a": "conv"}}\'\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert layer_names(tmp_path / "a.h5") == {"layers/a": "conv"}
