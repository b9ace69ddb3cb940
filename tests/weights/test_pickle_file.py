"""detectron2's pickles: NumPy's own pickles of every protocol, and those of Python 2, read without unpickling."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.weights.pickled import Call, Name, dumps
from wbcjax.weights.files import read_weights

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)


@given(
    array=arrays.arrays(
        st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<i8", ">i2", "|u1", "|b1"]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    protocol=st.integers(2, 5),
    layout=st.sampled_from(["C", "F", "reversed"]),
)
def test_an_array_is_what_numpys_own_unpickling_makes_of_it(tmp_path_factory, array, protocol, layout):
    array = np.array(array, order=layout) if layout != "reversed" else array[::-1].T if array.ndim else array
    path = tmp_path_factory.getbasetemp() / "model.pkl"
    path.write_bytes(pickle.dumps({"a": array}, protocol))
    found = read_weights(path).arrays["a"]
    expected = pickle.loads(path.read_bytes())["a"]
    assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_the_model_is_read_and_its_author_kept(tmp_path):
    saved = {"model": {"stem.conv1.weight": KERNEL}, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(saved))
    read = read_weights(tmp_path / "R-50.pkl")
    np.testing.assert_array_equal(read.arrays["stem.conv1.weight"], KERNEL)
    assert read.metadata == {"__author__": "torchvision", "matching_heuristics": "True", "entry": "model"}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_ordered_dicts_shared_arrays_and_scalars_are_read(tmp_path, protocol):
    saved = OrderedDict(a=KERNEL, b=KERNEL, c=np.float32(2.5))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(saved, protocol))
    found = read_weights(tmp_path / "a.pkl").arrays
    np.testing.assert_array_equal(found["b"], KERNEL)
    assert found["c"] == np.float32(2.5)


def test_the_bytes_of_python_2_are_read(tmp_path):
    dtype = Call(Name("numpy", "dtype"), "f4", 0, 1, state=(3, "<", None, None, None, -1, -1, 0))
    start = Call(Name("numpy.core.multiarray", "_reconstruct"), Name("numpy", "ndarray"), (0,), "b")
    text = KERNEL.tobytes().decode("latin-1")
    start.state = (1, KERNEL.shape, dtype, False, "DATA")
    raw = dumps({"a": start})
    data = b"T" + len(KERNEL.tobytes()).to_bytes(4, "little") + text.encode("latin-1")
    (tmp_path / "a.pkl").write_bytes(raw.replace(b"X\x04\0\0\0DATA", data))
    np.testing.assert_array_equal(read_weights(tmp_path / "a.pkl").arrays["a"], KERNEL)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", None], object),
        np.array(["a"]),
        np.array([(1, 2.0)], "i4,f4"),
        np.array(["2020-01-01"], "M8[D]"),
        np.ones(2, complex),
    ],
)
def test_arrays_of_anything_but_plain_numbers_are_refused(tmp_path, array):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": array}, 4))
    with pytest.raises(ValueError, match=r"a\.pkl: it has an array of type '.*'; weights are plain numbers"):
        read_weights(tmp_path / "a.pkl")


def test_a_shape_that_its_bytes_do_not_fill_is_refused(tmp_path):
    raw = pickle.dumps({"a": np.zeros((2, 3), np.float32)}, 2)
    (tmp_path / "a.pkl").write_bytes(raw.replace(b"K\x02K\x03\x86", b"K\xffK\xff\x86"))
    with pytest.raises(ValueError, match=r"an array of shape \(255, 255\) and float32, but 24 bytes for it"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize("saved", [[KERNEL], KERNEL, 3, {"model": [KERNEL]}, {3: KERNEL}])
def test_a_pickle_without_a_dict_of_arrays_is_refused(tmp_path, saved):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(saved, 4))
    with pytest.raises(ValueError, match=r"a\.pkl: (it holds a|1 of 1 entries are no weights)"):
        read_weights(tmp_path / "a.pkl")


def test_a_truncated_pickle_and_one_with_more_behind_it_are_refused(tmp_path):
    raw = pickle.dumps({"a": KERNEL})
    (tmp_path / "a.pkl").write_bytes(raw[:-20])
    with pytest.raises(ValueError, match=r"a\.pkl: a damaged or truncated pickle"):
        read_weights(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(raw + b"more")
    with pytest.raises(ValueError, match=r"a\.pkl: 4 bytes behind the end of its pickle"):
        read_weights(tmp_path / "a.pkl")
