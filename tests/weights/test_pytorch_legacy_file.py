"""Files of torch before 1.6, read without torch: values against NumPy's own views, each claim held against the file."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.weights.pickled import (
    Call,
    Name,
    Reference,
    dumps,
    legacy,
    legacy_torch,
    legacy_whole,
    ordered,
    storage,
    tensor,
    viewed,
)
from wbcjax.weights.files import read_weights

STORED = np.arange(24, dtype=np.float32)
ONE = storage("5", "float32", 24)
STATE = dumps({"a": legacy_whole("5", STORED)})


def read(tmp_path, content: bytes):
    (tmp_path / "a.pth").write_bytes(content)
    return read_weights(tmp_path / "a.pth")


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5),
        hnp.arrays(
            st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8]),
            hnp.array_shapes(min_dims=0, max_side=4),
            elements=st.integers(0, 100),
        ),
        min_size=1,
    )
)
def test_values_of_every_type_and_shape_are_as_stored(tmp_path_factory, arrays):
    found = read(tmp_path_factory.getbasetemp(), legacy_torch(arrays)).arrays
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_view_of_a_storage_is_where_the_reference_has_it(tmp_path):
    views = {
        "root": (tensor(viewed(ONE), 0, (6, 4), (1, 6)), STORED.reshape(4, 6).T),
        "part": (tensor(viewed(ONE, ("7", 6, 12)), 0, (2, 6), (6, 1)), STORED[6:18].reshape(2, 6)),
        "of_part": (tensor(viewed(ONE, ("7", 6, 12)), 1, (2, 3), (6, 1)), STORED[6:18].reshape(2, 6)[:, 1:4]),
        "to_the_end": (tensor(viewed(ONE, ("8", 20, 4)), 3, (), ()), STORED[23]),
    }
    pickled = dumps(ordered({name: described for name, (described, _) in views.items()}))
    found = read(tmp_path, legacy(pickled, {"5": STORED})).arrays
    for name, (_, expected) in views.items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


@pytest.mark.parametrize(
    ("view", "found"),
    [
        (("7", 6, 5), r"'a' of shape \(6,\), strides \(1,\) and offset 0 does not fit into its storage of 5 numbers"),
        (("7", 20, 6), "a view that is no part of the storage '5'"),
        (("7", -1, 6), "a view that is no part of the storage '5'"),
        (("7", 6), "a damaged pickle|not enough values"),
        ("7", "a damaged pickle|not enough values"),
    ],
)
def test_a_view_that_leaves_its_storage_is_refused(tmp_path, view, found):
    pickled = dumps({"a": tensor(viewed(ONE, view), 0, (6,), (1,))})
    with pytest.raises(ValueError, match=rf"a\.pth: .*({found})"):
        read(tmp_path, legacy(pickled, {"5": STORED}))


def test_a_checkpoint_gives_its_model_and_says_what_it_left_out(tmp_path):
    momenta = np.full(7, np.nan)
    saved = {
        "epoch": 7,
        "optimizer": {0: legacy_whole("1", momenta)},
        "state_dict": ordered({"a": legacy_whole("5", STORED)}, state={"_metadata": ordered({"": {"version": 1}})}),
    }
    found = read(tmp_path, legacy(dumps(saved), {"1": momenta, "5": STORED}))
    assert list(found.arrays) == ["a"]
    np.testing.assert_array_equal(found.arrays["a"], STORED)
    assert found.metadata == {"epoch": "7", "left_out": "optimizer", "entry": "state_dict"}


def test_tensors_of_torch_before_0_4_are_read(tmp_path):
    old = Call(Name("torch._utils", "_rebuild_tensor"), viewed(ONE), 4, (2, 3), (3, 1))
    found = read(tmp_path, legacy(dumps(ordered({"a": old})), {"5": STORED})).arrays
    np.testing.assert_array_equal(found["a"], STORED[4:10].reshape(2, 3))


def test_a_file_that_ends_anywhere_is_refused(tmp_path):
    content = legacy_torch({"a": STORED, "b": STORED[:3]})
    assert len(read(tmp_path, content).arrays) == 2
    for end in range(len(content)):
        with pytest.raises(ValueError, match=r"a\.pth: "):
            read(tmp_path, content[:end])


def test_where_a_file_ends_is_told(tmp_path):
    content = legacy(STATE, {"5": STORED})
    with pytest.raises(
        ValueError, match=rf"within the storage '5', at byte {len(content) - 4} of {len(content)}; fetch"
    ):
        read(tmp_path, content[:-4])


def test_bytes_behind_the_last_storage_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pth: 3 bytes behind the last storage"):
        read(tmp_path, legacy(STATE, {"5": STORED}) + b"abc")


@pytest.mark.parametrize("count", [b"\0" * 8, b"\x19" + b"\0" * 7, b"\xff" * 8, b"\0" * 7 + b"\x18"])
def test_a_storage_of_another_size_than_the_pickle_says_is_refused(tmp_path, count):
    with pytest.raises(ValueError, match=r"the storage '5' has -?\d+ numbers, but its pickle refers to 24"):
        read(tmp_path, legacy(STATE, {"5": STORED}, data=count + STORED.tobytes()))


@pytest.mark.parametrize("keys", [[], ["5", "6"], ["5", "5"], ["6"], [5], "5", {"5": 1}, None])
def test_other_storages_than_the_pickle_refers_to_are_refused(tmp_path, keys):
    with pytest.raises(ValueError, match=r"a\.pth: its list of storages is not that of those its pickle refers to"):
        read(tmp_path, legacy(STATE, {"5": STORED}, keys=dumps(keys)))


def test_a_storage_of_two_types_is_refused(tmp_path):
    other = tensor(viewed(storage("5", "int32", 24)), 0, (24,), (1,))
    with pytest.raises(ValueError, match=r"the storage '5' in two types or sizes"):
        read(tmp_path, legacy(dumps({"a": legacy_whole("5", STORED), "b": other}), {"5": STORED}))


@pytest.mark.parametrize("machine", [{"little_endian": False}, {"little_endian": 1}, {}])
def test_another_byte_order_is_refused(tmp_path, machine):
    with pytest.raises(ValueError, match="another byte order"):
        read(tmp_path, legacy(STATE, {"5": STORED}, machine=dumps(machine)))


@pytest.mark.parametrize("part", [{"version": dumps(1002)}, {"version": dumps("1001")}, {"machine": dumps([])}])
def test_another_version_of_the_format_is_refused(tmp_path, part):
    with pytest.raises(ValueError, match=r"of torch before 1\.6, but of a version that is not known"):
        read(tmp_path, legacy(STATE, {"5": STORED}, **part))


def test_a_whole_module_is_refused(tmp_path):
    module = Reference(("module", Name("torch.nn.modules.linear", "Linear"), "linear.py", "class Linear:"))
    with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear', .* nothing was executed"):
        read(tmp_path, legacy(dumps({"a": module}), {}))


@pytest.mark.parametrize(("count", "size"), [(2**40, (2**40,)), (2**47, (24,)), (24, (2**40,)), (2**70, (24,))])
def test_a_claim_of_more_than_the_file_has_allocates_nothing(tmp_path, count, size):
    claims = tensor(viewed(storage("5", "float32", count)), 0, size, (1,))
    content = legacy(dumps({"a": claims}), {"5": STORED})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"a\.pth: (it ends within|its tensors claim|its pickle refers to what)"):
            read(tmp_path, content)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
