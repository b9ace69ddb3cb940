"""Weights files that torch and Keras write, read without either: names and values as the libraries have them."""

import os
from collections import OrderedDict

import numpy as np
import pytest

from tests.weights.pickled import dumps, legacy, legacy_whole, ordered, storage, tensor, viewed
from wbcjax.weights.files import read_weights
from wbcjax.weights.safetensors_file import write_safetensors

pytestmark = pytest.mark.parity


def torch():
    return pytest.importorskip("torch")


def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    return pytest.importorskip("keras")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_tensor_of_torch_is_as_torch_has_it(tmp_path, zipped, protocol):
    t = torch()
    t.manual_seed(5)
    base = t.randn(6, 8)
    module = t.nn.Sequential(t.nn.Conv2d(3, 4, 3), t.nn.BatchNorm2d(4), t.nn.Linear(4, 2).half())
    kinds = {str(kind): t.arange(6).reshape(2, 3).to(kind) for kind in (t.float64, t.int16, t.int8, t.uint8, t.bool)}
    tensors = {
        **module.state_dict(),
        **{name.replace(".", "_"): tensor for name, tensor in kinds.items()},
        "transposed": base.T,
        "channels_last": t.randn(2, 3, 4, 5).to(memory_format=t.channels_last),
        "part": base[1:4, 2::3],
        "same": base,
        "parameter": t.nn.Parameter(base[0]),
        "scalar": t.tensor(3.5),
        "empty": t.zeros(0, 3),
        "half": t.randn(5).bfloat16(),
    }
    t.save(OrderedDict(tensors), tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "a.pth").arrays
    assert list(found) == list(tensors)
    for name, theirs in tensors.items():
        assert found[name].dtype.name == str(theirs.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(found[name].astype(float), theirs.detach().double().numpy(), err_msg=name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_checkpoint_of_torch_gives_its_model(tmp_path, zipped):
    t = torch()
    model = t.nn.Linear(3, 2)
    optimizer = t.optim.AdamW(model.parameters())
    model(t.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = t.optim.lr_scheduler.StepLR(optimizer, 2)
    checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    saved = checkpoint | {"lr_scheduler": schedule.state_dict()}
    t.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "a.pth")
    np.testing.assert_array_equal(read.arrays["weight"], model.weight.detach().numpy())
    assert read.metadata == {"epoch": "3", "left_out": "optimizer, lr_scheduler", "entry": "model"}


@pytest.mark.parametrize("zipped", [True, False])
def test_an_expanded_tensor_and_a_whole_module_are_refused(tmp_path, zipped):
    t = torch()
    t.save({"a": t.zeros(1).expand(1000)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    refusals = r"'a' of shape \(1000,\), strides \(0,\) and offset 0 does not fit|its tensors claim 4000 bytes"
    with pytest.raises(ValueError, match=refusals):
        read_weights(tmp_path / "a.pth")
    t.save(t.nn.Linear(3, 2), tmp_path / "b.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"b\.pth: its pickle asks for 'torch\.nn\.modules\.linear\.Linear'"):
        read_weights(tmp_path / "b.pth")


def test_torch_reads_our_files_of_old_torch_as_we_do(tmp_path):
    t = torch()
    stored = np.arange(24, dtype=np.float32)
    state = {
        "whole": legacy_whole("5", stored.reshape(2, 3, 4)),
        "part": tensor(viewed(storage("5", "float32", 24), ("7", 4, 12)), 2, (2, 3), (4, 1)),
    }
    (tmp_path / "a.pth").write_bytes(legacy(dumps(ordered(state)), {"5": stored}))
    theirs = t.load(tmp_path / "a.pth", weights_only=True)
    ours = read_weights(tmp_path / "a.pth").arrays
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name].numpy(), err_msg=name)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    t = torch()
    t.jit.save(t.jit.trace(t.nn.Linear(3, 2), t.ones(1, 3)), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: .* in it is compressed: a program of TorchScript"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_our_files_are_torchs_to_read(tmp_path, dtype):
    load_file = pytest.importorskip("safetensors.torch", reason="needs torch").load_file
    kernel = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    write_safetensors(tmp_path / "ours.safetensors", {"params": {"conv": {"kernel": kernel}}}, {}, dtype)
    theirs = load_file(tmp_path / "ours.safetensors")["params/conv/kernel"]
    assert str(theirs.dtype) == f"torch.{dtype}"
    np.testing.assert_allclose(theirs.float().numpy(), kernel, rtol=2**-8 if dtype == "bfloat16" else 0)


def small_model(k):
    """Layers of every kind that this package reads, some without a name, one in another, one in a wrapper."""
    inputs = k.layers.Input((8, 8, 3))
    x = k.layers.Normalization(name="pixels")(inputs)
    x = k.layers.Conv2D(4, 3, use_bias=False, name="stem_conv")(x)
    x = k.layers.BatchNormalization(name="stem_bn")(x)
    x = k.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = k.layers.Conv2DTranspose(5, 2)(x)
    x = k.layers.BatchNormalization(center=False, scale=False)(x)
    x = k.layers.Conv2D(3, 1)(x)
    x = k.Sequential([k.layers.Conv2D(4, 1, name="inner"), k.layers.ReLU(), k.layers.Conv2D(4, 1)], name="block")(x)
    x = k.layers.GlobalAveragePooling2D()(x)
    return k.Model(inputs, k.layers.Dense(2, name="logits")(x))


def fill(model):
    rng = np.random.default_rng(8)
    for variable in model.weights:
        variable.assign(rng.integers(1, 9, variable.shape) if "int" in variable.dtype else rng.random(variable.shape))
    return {variable.path: np.asarray(variable) for variable in model.weights}


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_every_weight_of_keras_has_its_path_and_value(tmp_path, suffix, compiled):
    k = keras()
    model = small_model(k)
    expected = fill(model)
    if compiled:
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
    path = tmp_path / f"model{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    read = read_weights(path)
    assert read.arrays.keys() == expected.keys()
    for name, array in read.arrays.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert read.metadata == ({"left_out": "optimizer_weights" if suffix == ".h5" else "optimizer"} if compiled else {})


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_every_weight_of_efficientnet_b3_has_its_path_and_value(tmp_path, suffix):
    k = keras()
    model = k.applications.EfficientNetB3(weights=None, classes=3)
    expected = fill(model)
    path = tmp_path / f"model{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    found = read_weights(path).arrays
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_keras_bfloat16_is_read(tmp_path):
    k = keras()
    model = k.Sequential([k.layers.Input((3,)), k.layers.Dense(4, dtype="bfloat16", name="dense")])
    model.save_weights(tmp_path / "a.weights.h5")
    found = read_weights(tmp_path / "a.weights.h5").arrays["dense/kernel"]
    np.testing.assert_array_equal(found, np.asarray(model.layers[0].kernel))
