"""torch's files read without torch: values against NumPy's own views, and every claim of a file held against it."""

import tarfile
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.weights.pickled import Call, Name, dumps, ordered, storage, tensor, whole, write_torch, write_zip
from wbcjax.weights.files import read_weights

STORED = np.arange(24, dtype=np.float32)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.uint8, np.bool_]
)
def test_values_of_every_type_are_as_stored(tmp_path, dtype):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    found = read_weights(write_torch(tmp_path / "a.pth", {"a": array})).arrays["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_views_into_one_storage_have_their_offsets_and_strides(tmp_path):
    one = storage("0", "float32", 24)
    views = {
        "transposed": (tensor(one, 0, (6, 4), (1, 6)), STORED.reshape(4, 6).T),
        "offset": (tensor(one, 7, (2, 3), (6, 1)), STORED.reshape(4, 6)[1:3, 1:4]),
        "stepped": (tensor(one, 1, (3,), (5,)), STORED[1:12:5]),
        "last": (tensor(one, 23, (), ()), STORED[23]),
        "one_wide": (tensor(one, 23, (1, 1), (999, 7)), STORED[23:].reshape(1, 1)),
        "empty": (tensor(one, 24, (0, 3), (3, 1)), np.zeros((0, 3), np.float32)),
    }
    pickled = dumps({name: described for name, (described, _) in views.items()})
    found = read_weights(write_zip(tmp_path / "a.pth", pickled, {"0": STORED.tobytes()})).arrays
    assert found.keys() == views.keys()
    for name, (_, expected) in views.items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        assert found[name].shape == expected.shape


@given(
    offset=st.integers(0, 30),
    size=st.lists(st.integers(0, 5), max_size=3),
    stride=st.lists(st.integers(0, 12), min_size=3, max_size=3),
)
def test_a_view_beyond_its_storage_is_refused(tmp_path_factory, offset, size, stride):
    """A view is read where numpy has it and refused where it leaves the storage."""
    size, stride = tuple(size), tuple(stride[: len(size)])
    path = tmp_path_factory.mktemp("view") / "a.pth"
    write_zip(path, dumps({"a": tensor(storage("0", "float32", 24), offset, size, stride)}), {"0": STORED.tobytes()})
    places = np.full(size, offset) + sum(n * s for n, s in zip(np.indices(size), stride, strict=True))
    if places.size and (places.max() >= 24 or places.size > 24):
        with pytest.raises(ValueError, match=r"a\.pth.*'a' of shape|tensors claim"):
            read_weights(path)
    else:
        np.testing.assert_array_equal(read_weights(path).arrays["a"], STORED[np.minimum(places, 23)])


def test_parameters_and_ordered_dicts_with_their_versions_are_read(tmp_path):
    parameter = Call(Name("torch._utils", "_rebuild_parameter"), whole("0", STORED), True, ordered({}))
    state = ordered({"a": parameter}, state={"_metadata": ordered({"": {"version": 1}})})
    path = write_zip(tmp_path / "a.pth", dumps(state), {"0": STORED.tobytes()}, byteorder=b"little")
    np.testing.assert_array_equal(read_weights(path).arrays["a"], STORED)


@pytest.mark.parametrize("entry", ["model", "state_dict", "model_state_dict", "net", "model_ema", "encoder"])
def test_a_checkpoint_gives_its_model_and_says_what_it_left_out(tmp_path, entry):
    momenta = {"momentum": whole("missing", STORED), 0: [1, 2.5, None]}
    saved = {"epoch": 7, entry: {"a": whole("0", STORED)}, "optimizer": momenta, "arch": "resnet50"}
    read = read_weights(write_zip(tmp_path / "a.pth", dumps(saved), {"0": STORED.tobytes()}))
    assert list(read.arrays) == ["a"]
    np.testing.assert_array_equal(read.arrays["a"], STORED)
    assert read.metadata == {"epoch": "7", "arch": "resnet50", "left_out": "optimizer", "entry": entry}


def test_weights_two_dictionaries_deep_are_found_and_all_else_is_noted(tmp_path):
    saved = {
        "epoch": 7,
        "model": {"state_dict": {"a": whole("0", STORED)}, "width": 64, "options": [1]},
        "optim": {"state": {0: {"momentum": whole("missing", STORED)}}, "groups": []},
    }
    read = read_weights(write_zip(tmp_path / "a.pth", dumps(saved), {"0": STORED.tobytes()}))
    np.testing.assert_array_equal(read.arrays["a"], STORED)
    noted = {"epoch": "7", "width": "64", "left_out": "optim, options", "entry": "model.state_dict"}
    assert read.metadata == noted


def test_of_two_dictionaries_of_weights_the_models_is_taken(tmp_path):
    weight = {"weight": whole("missing", STORED)}
    saved = {"criterion": weight, "net": {"a": whole("0", STORED)}, "hparams": {}}
    read = read_weights(write_zip(tmp_path / "a.pth", dumps(saved), {"0": STORED.tobytes()}))
    np.testing.assert_array_equal(read.arrays["a"], STORED)
    assert read.metadata == {"left_out": "criterion, hparams", "entry": "net"}


@pytest.mark.parametrize("entries", [("model", "model_ema"), ("student", "teacher")])
def test_a_checkpoint_of_two_models_is_refused_naming_both(tmp_path, entries):
    path = write_zip(tmp_path / "a.pth", dumps({name: {"a": whole("0", STORED)} for name in entries}), {})
    first, second = entries
    told = rf"a\.pth: 2 of its entries are dictionaries of weights \('{first}', '{second}'\).*\['{first}'\], OUT\)"
    with pytest.raises(ValueError, match=told):
        read_weights(path)


def test_a_storage_of_another_size_than_its_members_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.pth", dumps({"a": whole("0", STORED)}), {"0": STORED.tobytes()[:-4]})
    with pytest.raises(ValueError, match=r"a\.pth: 'archive/data/0' has 92 bytes, but 24 float32 take 96"):
        read_weights(path)


def test_a_missing_storage_is_named(tmp_path):
    path = write_zip(tmp_path / "a.pth", dumps({"a": whole("3", STORED)}), {"0": STORED.tobytes()})
    with pytest.raises(ValueError, match=r"'archive/data/3' is missing"):
        read_weights(path)


@pytest.mark.parametrize(
    ("size", "stride"), [((2**40,), (0,)), ((2**20, 2**20), (0, 0)), ((2**40,), (1,)), ((2**70,), (0,))]
)
def test_a_shape_that_claims_more_than_the_file_has_allocates_nothing(tmp_path, size, stride):
    path = write_zip(
        tmp_path / "a.pth", dumps({"a": tensor(storage("0", "float32", 24), 0, size, stride)}), {"0": STORED.tobytes()}
    )
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"a\.pth: its (tensors claim|pickle has a tensor that is not whole)"):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_many_names_of_one_storage_are_refused_and_a_tied_weight_is_not(tmp_path):
    large = np.arange(4096, dtype=np.float32)
    for copies, refused in ((2, False), (200, True)):
        state = {f"w{i}": whole("0", large) for i in range(copies)}
        path = write_zip(tmp_path / f"{copies}.pth", dumps(state), {"0": large.tobytes()})
        if refused:
            with pytest.raises(ValueError, match="tensors claim 3276800 bytes, but the file has"):
                read_weights(path)
        else:
            np.testing.assert_array_equal(read_weights(path).arrays["w1"], large)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    zeros = np.zeros(2**20, np.float32)
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", dumps({"a": whole("0", zeros)}))
        archive.writestr("archive/data/0", zeros.tobytes())
    with pytest.raises(ValueError, match=r"bomb\.pth: 'archive/data.pkl' in it is compressed"):
        read_weights(tmp_path / "bomb.pth")


def test_members_that_overlap_are_refused(tmp_path):
    path = write_torch(tmp_path / "a.pth", {"a": STORED, "b": STORED})
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"archive/data/1") - 46  # the second storage's entry in the central directory
    raw[place + 20 : place + 28] = (2**20).to_bytes(4, "little") * 2
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"its members claim \d+ bytes, but the file has"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = write_torch(tmp_path / "a.pth", {"a": STORED})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", dumps({}))
    with pytest.raises(ValueError, match=r"the archive has 'archive/data.pkl' twice"):
        read_weights(path)


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    one = dumps({"a": whole("0", STORED), "b": whole("0", STORED)})
    path = write_zip(tmp_path / "a.pth", one.replace(b"\x01\0\0\0b", b"\x01\0\0\0a"), {"0": STORED.tobytes()})
    with pytest.raises(ValueError, match=r"a\.pth: 'a' is there twice"):
        read_weights(path)


def test_entries_that_are_no_weights_are_named(tmp_path):
    path = write_torch(tmp_path / "a.pth", {"a": STORED}, model={"a": 3, "b": [1]})
    with pytest.raises(ValueError, match=r"2 of 2 entries are no weights \('a': int, 'b': list\)"):
        read_weights(path)


def test_a_foreign_archive_is_told_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("holiday.jpg", b"")
    with pytest.raises(ValueError, match="a zip archive that neither torch nor Keras wrote"):
        read_weights(tmp_path / "b.pth")


def test_another_byte_order_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.pth", dumps({"a": whole("0", STORED)}), {"0": STORED.tobytes()}, byteorder=b"big")
    with pytest.raises(ValueError, match="another byte order"):
        read_weights(path)


def test_a_storage_of_two_sizes_is_refused(tmp_path):
    large = tensor(storage("0", "float32", 1000), 0, (1000,), (1,))
    path = write_zip(tmp_path / "a.pth", dumps({"a": large, "b": whole("0", STORED)}), {"0": STORED.tobytes()})
    with pytest.raises(ValueError, match=r"a\.pth: its pickle has the storage '0' in two types or sizes"):
        read_weights(path)


def test_files_of_the_first_torch_get_the_remedy(tmp_path):
    with tarfile.open(tmp_path / "old.pth", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match=r"old\.pth: a tar archive, as of torch before 0\.1\.10; .*`torch\.save"):
        read_weights(tmp_path / "old.pth")
