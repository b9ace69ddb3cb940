"""Weights files of all formats as one: told apart by content, refused when they are no use; ours written and read."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save

from tests.weights.pickled import safetensors, write_torch
from wbcjax.weights.files import read_weights
from wbcjax.weights.safetensors_file import write_safetensors

KERNEL = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)


def test_the_content_tells_the_format_and_not_the_name(tmp_path):
    path = write_torch(tmp_path / "really_torch.h5", {"a": KERNEL})
    np.testing.assert_array_equal(read_weights(path).arrays["a"], KERNEL)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "the file is empty; fetch it again"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", r"no weights file \(a JPEG image\)"),
        (b"\x89PNG\r\n\x1a\n", r"no weights file \(a PNG image\)"),
        (b"<!DOCTYPE html>", r"no weights file \(a web page: the download went wrong\)"),
        (b"version https://git-lfs.github.com/spec/v1", r"no weights file \(a Git LFS pointer"),
        (b"\x1f\x8b\x08", r"no weights file \(a gzip archive: unpack it first\)"),
        (b"\0" * 100, r"no weights file \(it begins b'\\x00"),
    ],
)
def test_a_file_of_another_kind_is_told_by_what_it_is(tmp_path, content, found):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"model\.pth: {found}"):
        read_weights(tmp_path / "model.pth")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read_weights(tmp_path / "none.pth")


def test_a_file_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pth: no weights in it"):
        read_weights(write_torch(tmp_path / "a.pth", {}))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, dtype, value):
    broken = KERNEL.astype(dtype)
    broken[1, 1, 1] = value
    path = write_torch(tmp_path / "a.pth", {"good": KERNEL, "bad": broken, "count": np.array([3])})
    with pytest.raises(ValueError, match=r"a\.pth: NaN or infinity in 1 of 3 weights: 'bad'; has its run diverged\?"):
        read_weights(path)


def test_many_broken_weights_are_counted_and_the_first_are_named(tmp_path):
    path = write_torch(tmp_path / "a.pth", {f"w{i}": np.full(2, np.nan, np.float32) for i in range(9)})
    with pytest.raises(ValueError, match=r"in 9 of 9 weights: 'w0', 'w1', 'w2', 'w3', 'w4', \.\.\.;"):
        read_weights(path)


def test_the_metadata_of_safetensors_is_kept(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(save({"a": KERNEL}, {"format": "pt"}))
    read = read_weights(tmp_path / "a.safetensors")
    assert read.metadata == {"format": "pt"}
    np.testing.assert_array_equal(read.arrays["a"], KERNEL)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}', "a damaged or truncated"),
        (b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}', "a damaged or truncated"),
        (
            b'{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}',
            "'a' is of the type F8_E4M3; weights are of F64",
        ),
    ],
)
def test_safetensors_that_claim_what_they_have_not_are_refused(tmp_path, header, found):
    (tmp_path / "a.safetensors").write_bytes(safetensors(header, b"\0" * 4))
    with pytest.raises(ValueError, match=rf"a\.safetensors: {found}"):
        read_weights(tmp_path / "a.safetensors")


def variables():
    key = jax.random.key(3)
    params = {"backbone": {"conv1": {"kernel": jax.random.normal(key, (3, 3, 2, 4)).T}}, "head": {"bias": jnp.ones(())}}
    return {"params": params, "batch_stats": {"backbone": {"bn1": {"mean": np.arange(4.0)[::2]}}}}


@pytest.mark.parametrize(("dtype", "stored"), [("float32", np.float32), ("bfloat16", ml_dtypes.bfloat16)])
def test_our_variables_come_back_by_their_paths_rounded_once(tmp_path, dtype, stored):
    write_safetensors(tmp_path / "ours.safetensors", variables(), {"classes": "L1 L2 L3"}, dtype)
    read = read_weights(tmp_path / "ours.safetensors")
    assert read.metadata == {"classes": "L1 L2 L3"}
    assert "params/backbone/conv1/kernel" in read.arrays
    expected = jax.tree.map(lambda array: np.asarray(array).astype(stored), variables())
    jax.tree.map(np.testing.assert_array_equal, unflatten_dict(read.arrays, sep="/"), expected)
    assert {array.dtype for array in read.arrays.values()} == {np.dtype(stored)}


def test_variables_that_are_not_finite_are_not_written(tmp_path):
    broken = {"params": {"conv": {"kernel": np.array([1.0, np.nan])}}}
    with pytest.raises(ValueError, match=r"a\.safetensors: not written: NaN .* 'params/conv/kernel' first"):
        write_safetensors(tmp_path / "a.safetensors", broken, {})
    assert not (tmp_path / "a.safetensors").exists()
