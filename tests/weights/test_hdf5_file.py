"""Keras's HDF5 files, made by hand: names of both layouts, and everything that HDF5 allows and weights do not need."""

import io
import json
import os
import struct
import sys
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest

from wbcjax.weights import hdf5_file
from wbcjax.weights.files import read_weights
from wbcjax.weights.keras_names import numbered_names

KERNEL = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
BIAS = np.arange(4, dtype=np.float32)


def make(path, arrays, names=()):
    """A file of arrays by place, and of the attribute `name` of groups."""
    with h5py.File(path, "w") as file:
        for place, array in arrays.items():
            file[place] = array
        for place, name in dict(names).items():
            file.require_group(place).attrs["name"] = name
    return path


def make_keras(path, layers, arrays):
    weights = io.BytesIO()
    make(weights, arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": layers}}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def layer(kind, name, **settings):
    return {"class_name": kind, "config": {"name": name, **settings}}


def test_matterports_names_are_read_without_the_layer_they_are_listed_under(tmp_path):
    arrays = {"conv1/conv1/kernel:0": KERNEL, "rpn_model/rpn_class_raw/bias:0": BIAS}
    found = read_weights(make(tmp_path / "mask_rcnn_coco.h5", arrays)).arrays
    assert set(found) == {"conv1/kernel:0", "rpn_class_raw/bias:0"}
    np.testing.assert_array_equal(found["conv1/kernel:0"], KERNEL)
    np.testing.assert_array_equal(found["rpn_class_raw/bias:0"], BIAS)


def test_a_whole_saved_model_gives_its_weights(tmp_path):
    """A model saved whole gives its weights and says that the optimizer is left out."""
    arrays = {"model_weights/stem/stem/kernel": KERNEL, "optimizer_weights/adam/stem_kernel_momentum": KERNEL}
    read = read_weights(make(tmp_path / "a.h5", arrays))
    assert list(read.arrays) == ["stem/kernel"]
    assert read.metadata == {"left_out": "optimizer_weights"}


def test_numbered_arrays_get_the_names_of_layers_and_of_what_layers_have(tmp_path):
    normalisation = {f"layers/batch_normalization_2/vars/{i}": BIAS + i for i in range(4)}
    arrays = {
        "layers/conv2d_11/vars/0": KERNEL,
        "layers/conv2d_11/vars/1": BIAS,
        **normalisation,
        "layers/functional/layers/dense/vars/0": BIAS,
        "layers/my_layer/vars/0": BIAS,
        "optimizer/vars/0": BIAS,
    }
    names = {
        "layers/conv2d_11/vars": "stem_conv",
        "layers/batch_normalization_2/vars": "stem_bn",
        "layers/functional/vars": "base",
        "layers/functional/layers/dense/vars": "top",
        "layers/my_layer/vars": "mine",
    }
    read = read_weights(make(tmp_path / "a.weights.h5", arrays, names))
    assert set(read.arrays) == {
        *("stem_conv/kernel", "stem_conv/bias", "base/top/kernel", "mine/0"),
        *("stem_bn/gamma", "stem_bn/beta", "stem_bn/moving_mean", "stem_bn/moving_variance"),
    }
    np.testing.assert_array_equal(read.arrays["stem_conv/kernel"], KERNEL)
    np.testing.assert_array_equal(read.arrays["stem_bn/moving_variance"], BIAS + 3)
    assert read.metadata == {"left_out": "optimizer"}


def test_numbers_are_counted_and_not_sorted_as_text():
    places = [f"layers/odd/vars/{i}" for i in range(12)]
    names = numbered_names(places, {"layers/odd": "odd"})
    assert names["layers/odd/vars/10"] == "odd/10"
    assert names["layers/odd/vars/2"] == "odd/2"


def test_a_keras_archive_names_layers_by_configuration(tmp_path):
    """A keras archive takes names from its configuration in the order of its layers."""
    layers = [
        layer("InputLayer", "input"),
        layer("Conv2D", "first"),
        layer("BatchNormalization", "norm"),
        layer("Conv2D", "second"),
        layer("Sequential", "base", layers=[layer("DepthwiseConv2D", "inner")]),
        layer("TimeDistributed", "each", layer=layer("Dense", "shared")),
    ]
    arrays = {
        "layers/conv2d/vars/0": KERNEL,
        "layers/conv2d_1/vars/0": KERNEL + 1,
        "layers/batch_normalization/vars/1": BIAS + 1,
        "layers/batch_normalization/vars/0": BIAS,
        "layers/sequential/layers/depthwise_conv2d/vars/0": KERNEL,
        "layers/time_distributed/layer/vars/0": BIAS,
    }
    found = read_weights(make_keras(tmp_path / "a.keras", layers, arrays)).arrays
    assert set(found) == {
        *("first/kernel", "second/kernel", "norm/moving_mean", "norm/moving_variance"),
        *("base/inner/kernel", "each/shared/0"),
    }
    np.testing.assert_array_equal(found["second/kernel"], KERNEL + 1)
    np.testing.assert_array_equal(found["norm/moving_mean"], BIAS)


def test_a_layer_without_a_name_gets_the_remedy(tmp_path):
    path = make(tmp_path / "a.weights.h5", {"layers/conv2d/vars/0": KERNEL})
    with pytest.raises(ValueError, match=r"a\.weights\.h5: layer 'layers/conv2d' has no name .* save it as \.keras"):
        read_weights(path)


def test_two_layers_of_one_name_are_refused(tmp_path):
    names = {"layers/conv2d/vars": "same", "layers/conv2d_1/vars": "same"}
    path = make(tmp_path / "a.weights.h5", {f"{place}/0": KERNEL for place in names}, names)
    with pytest.raises(ValueError, match="'same/kernel' is there twice; give every layer a name of its own"):
        read_weights(path)


def test_bfloat16_is_read_as_keras_writes_it(tmp_path):
    array = np.array([1.5, -2.0, 3e38], ml_dtypes.bfloat16)
    path = make(tmp_path / "a.h5", {"dense/dense/kernel": array})
    found = read_weights(path).arrays["dense/kernel"]
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found, array)


def test_scalars_and_empty_arrays_are_read(tmp_path):
    arrays = {"norm/norm/count": np.int32(7), "odd/odd/none": np.zeros((0, 3), np.float32)}
    found = read_weights(make(tmp_path / "a.h5", arrays)).arrays
    assert found["norm/count"] == 7
    assert found["odd/none"].shape == (0, 3)


def soft(file, outside):
    file["layer/link"] = h5py.SoftLink("/conv/kernel")


def external_link(file, outside):
    file["layer/link"] = h5py.ExternalLink(str(outside), "conv/kernel")


def external_data(file, outside):
    (outside.parent / "raw").write_bytes(b"secret--" * 12)
    file.create_dataset("layer/link", (24,), "f4", external=[(str(outside.parent / "raw"), 0, 96)])


def virtual(file, outside):
    layout = h5py.VirtualLayout((24,), "f4")
    layout[:] = h5py.VirtualSource(str(outside), "conv/kernel", (24,))
    file.create_virtual_dataset("layer/link", layout)


def hard_link(file, outside):
    file["layer/link"] = file["conv/conv/kernel"]


def cycle(file, outside):
    file["layer/link"] = file["/"]


def texts(file, outside):
    file["layer/link"] = ["some", "text"]


def references(file, outside):
    file.create_dataset("layer/link", data=np.array([file.ref]), dtype=h5py.ref_dtype)


def compound(file, outside):
    file["layer/link"] = np.zeros(3, "f4,i4")


def ragged(file, outside):
    file.create_dataset("layer/link", (2,), h5py.vlen_dtype(np.float32))


def committed_type(file, outside):
    file["layer/link"] = np.dtype("f4")


def no_shape(file, outside):
    file["layer/link"] = h5py.Empty("f4")


def compressed(file, outside):
    file.create_dataset("layer/link", (2**28,), "f4", compression="gzip", fillvalue=1)


def absurd(file, outside):
    file.create_dataset("layer/link", (2**40,), "f4")  # never written, so that the file stays small


@pytest.mark.parametrize(
    ("what", "refusal"),
    [
        (soft, "is a link to elsewhere"),
        (external_link, "is a link to elsewhere"),
        (external_data, "has its data in another file"),
        (virtual, "has its data in another file"),
        (hard_link, "is there twice"),
        (cycle, "is there twice"),
        (texts, "has the type object"),
        (references, "has the type object"),
        (compound, r"has the type \[\('f0'"),
        (ragged, "has the type object"),
        (committed_type, "is neither a group nor an array"),
        (no_shape, "has no shape"),
        (compressed, "is stored in chunks or compressed"),
        (absurd, r"of shape \(1099511627776,\) claims 4398046511104 bytes; the file of \d+ bytes has 0"),
    ],
)
def test_what_weights_do_not_need_is_refused_by_name(tmp_path, what, refusal):
    outside = make(tmp_path / "outside.h5", {"conv/kernel": KERNEL.ravel()})
    with h5py.File(make(tmp_path / "a.h5", {"conv/conv/kernel": KERNEL}), "a") as file:
        what(file, outside)
    with pytest.raises(ValueError, match=rf"a\.h5: '(layer/link|conv/conv/kernel)' {refusal}"):
        read_weights(tmp_path / "a.h5")


def test_an_array_that_no_layer_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 arrays that no layer has, 'loose' first"):
        read_weights(make(tmp_path / "a.h5", {"loose": BIAS, "conv/conv/kernel": KERNEL}))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    raw = make(tmp_path / "a.h5", {"conv/conv/kernel": np.ones((50, 50), np.float32)}).read_bytes()
    (tmp_path / "a.h5").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(ValueError, match=r"a\.h5: a damaged or truncated HDF5 file .*; fetch it again"):
        read_weights(tmp_path / "a.h5")


def test_a_name_of_absurd_length_neither_crashes_nor_fills_the_memory(tmp_path):
    name = "n" * 77
    path = make(tmp_path / "a.weights.h5", {"layers/conv2d/vars/0": KERNEL}, {"layers/conv2d/vars": name})
    raw = path.read_bytes()
    # HDF5 has a text's length in front of where it is kept: the heap of the file.
    place = raw.index(struct.pack("<I", 77) + struct.pack("<Q", raw.index(b"GCOL")))
    path.write_bytes(raw[:place] + struct.pack("<I", 2**32 - 9) + raw[place + 4 :])
    with pytest.raises(ValueError, match=r"a\.weights\.h5: a damaged HDF5 file, its layers' names cannot be read"):
        read_weights(path)


def numbered(path):
    return make(path / "a.weights.h5", {"layers/conv2d/vars/0": KERNEL}, {"layers/conv2d/vars": "stem_conv"})


def test_names_are_read_with_this_processs_path(tmp_path, monkeypatch):
    """Names are read where packages are found by the path of this process alone."""
    monkeypatch.setattr(sys, "executable", os.path.realpath(sys.executable))  # which has no packages of its own
    np.testing.assert_array_equal(read_weights(numbered(tmp_path)).arrays["stem_conv/kernel"], KERNEL)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('ulimit -v 60000; exec {python} "$@"', "failed before it opened the file"),
        ("echo no such module >&2; exit 3", r"failed before it opened the file \(no such module\)"),
        ("kill -9 $$", r"failed before it opened the file \(SIGKILL\)"),
        (None, "a process that cannot be started: .*No such file"),
    ],
)
def test_a_failure_of_the_process_that_reads_names_is_not_the_files(tmp_path, monkeypatch, script, told):
    shell = tmp_path / "python"
    if script is not None:
        shell.write_text(f"#!/bin/sh\n{script.format(python=sys.executable)}\n")
        shell.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(shell))
    with pytest.raises(ValueError, match=rf"a\.weights\.h5: its layers' names are read by .*{told}") as refusal:
        read_weights(numbered(tmp_path))
    assert "fetch it again" not in str(refusal.value)


def test_a_lack_of_memory_is_told_as_such_and_not_as_damage(tmp_path, monkeypatch):
    def lacking(_: h5py.Dataset):
        raise MemoryError

    path = make(tmp_path / "a.h5", {"conv/conv/kernel": KERNEL})
    monkeypatch.setattr(hdf5_file, "_array", lacking)
    with pytest.raises(ValueError, match=r"a\.h5: memory does not suffice to read its \d+ bytes"):
        read_weights(path)


@pytest.mark.parametrize(
    "config", ["", "[]", "{", '{"config": {"layers": [3]}}', '{"config": {"layers": 3}}', "[" * 100000, "{}"]
)
def test_a_keras_archive_without_a_models_configuration_is_refused(tmp_path, config):
    path = make_keras(tmp_path / "a.keras", [], {"layers/conv2d/vars/0": KERNEL})
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(ValueError, match=r"a\.keras: no model's config\.json in the archive"):
        read_weights(path)


def test_a_compressed_keras_archive_is_refused(tmp_path):
    path = make_keras(tmp_path / "a.keras", [layer("Conv2D", "a")], {"layers/conv2d/vars/0": np.zeros((500, 500))})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"a\.keras: .* in it is compressed"):
        read_weights(path)
