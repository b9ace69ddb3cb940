"""Counting the work of traced computations: closed forms, and figures that others publish."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from wbcjax.commands.plan.flops import Work, work_of
from wbcjax.models import efficientnet
from wbcjax.models.backbone import nothing_trains
from wbcjax.models.efficientnet import Classifier
from wbcjax.models.resnet import ResNet
from wbcjax.models.settings import EFFICIENTNET_TORCHVISION


def work(function: Callable, *shapes: Any) -> Work:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) if isinstance(shape, tuple) else shape for shape in shapes]
    return work_of(jax.make_jaxpr(function)(*arguments).jaxpr)


def convolve(stride: int = 1, groups: int = 1, padding: str = "SAME") -> Callable:
    return lambda x, kernel: jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def test_a_dense_layer_multiplies_and_adds_once_for_each_pair_of_neurons():
    assert work(jnp.dot, (3, 5), (5, 7)) == Work(2 * 3 * 5 * 7, 4 * (3 * 5 + 5 * 7 + 3 * 7), 0)


def test_a_product_of_batches_is_as_many_products():
    assert work(lambda a, b: jnp.einsum("nij,nkj->nik", a, b), (6, 3, 5), (6, 7, 5)).flops == 6 * 2 * 3 * 5 * 7


@given(
    st.integers(1, 3), st.integers(4, 12), st.integers(4, 12), st.sampled_from([1, 3, 5]), st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_a_convolution_is_a_product_for_each_output_place_of_the_kernel(images, height, width, kernel, stride, groups):
    found = work(convolve(stride, groups), (images, height, width, 8), (kernel, kernel, 8 // groups, 12))
    places = images * -(-height // stride) * -(-width // stride)
    assert found.flops == 2 * places * kernel**2 * (8 // groups) * 12


def test_reads_and_writes_of_a_convolution_are_its_operands_and_its_result():
    found = work(convolve(2), (2, 8, 10, 3), (3, 3, 3, 16))
    assert found.bytes_moved == 4 * (2 * 8 * 10 * 3 + 3 * 3 * 3 * 16 + 2 * 4 * 5 * 16)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_strided_convolutions_input_gradient_is_not_overcounted(stride: int):
    """The gradient of a convolution by its input leaves out what the stride left out."""

    def loss(x, kernel):
        return jnp.sum(convolve(stride, padding="VALID")(x, kernel) ** 2)

    shapes = (2, 11, 11, 4), (3, 3, 4, 8)
    forward = work(loss, *shapes).flops
    places = len(range(0, 9, stride)) ** 2
    assert forward == 2 * 2 * places * 9 * 4 * 8
    by_kernel = work(jax.grad(loss, 1), *shapes).flops - forward
    assert by_kernel == forward
    # By the input: a product for each pixel and each output that may see it, those beyond the edge among them.
    pairs = sum((pixel + tap) % stride == 0 for pixel in range(11) for tap in range(3))
    assert work(jax.grad(loss, 0), *shapes).flops - forward == 2 * 2 * pairs**2 * 4 * 8


def test_a_scan_counts_for_each_of_its_passes():
    def repeated(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=13)[0]

    one = work(jnp.dot, (4, 4), (4, 4))
    assert work(repeated, (4, 4), (4, 4)) == Work(*(13 * each for each in one))


def test_unknown_loops_count_once_choices_their_dearest_branch():
    """A loop of unknown length counts once and a choice as its dearest branch."""

    def loop(x):
        return jax.lax.while_loop(lambda x: jnp.sum(x) > 0, lambda x: x @ x, x)

    def choice(x):
        return jax.lax.cond(jnp.sum(x) > 0, lambda x: x, lambda x: x @ x @ x, x)

    assert work(loop, (4, 4)).flops == 2 * 4**3
    assert work(choice, (4, 4)).flops == 2 * 2 * 4**3


def test_what_is_computed_again_for_the_gradient_counts_again():
    def layer(x, w):
        return jnp.tanh(x @ w)

    def gradient(layer):
        return work(jax.grad(lambda x, w: jnp.sum(layer(layer(x, w), w))), (4, 4), (4, 4)).flops

    assert gradient(layer) == (2 + 2) * 2 * 4**3
    assert gradient(jax.checkpoint(layer)) == (2 + 2 + 2) * 2 * 4**3


def test_products_inside_functions_with_derivatives_of_their_own_and_inside_jit_are_found():
    @jax.custom_vjp
    def product(x):
        return x @ x

    product.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))
    assert work(jax.jit(product), (4, 4)).flops == 2 * 4**3
    assert work(jax.grad(lambda x: jnp.sum(product(x))), (4, 4)).flops == 3 * 2 * 4**3


def test_all_reduced_bytes_are_those_of_one_device():
    def mean(x):
        return jax.lax.pmean({"a": x, "b": x[0].astype(jnp.bfloat16)}, "data")

    mapped = jax.shard_map(mean, mesh=AbstractMesh((8,), ("data",)), in_specs=P("data"), out_specs=P(), check_vma=False)
    assert work(mapped, (16, 3)).bytes_reduced == 4 * 2 * 3 + 2 * 3


@pytest.mark.parametrize(("depth", "products"), [(18, 1.814e9), (50, 4.089e9)])
def test_a_resnet_is_as_much_work_as_torchvision_publishes(depth: Any, products: float):
    # https://pytorch.org/vision/stable/models.html: multiplications of one image, the 1000-way classifier among them.
    model = ResNet(depth=depth, norm="bn")
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(lambda image: model.init(jax.random.key(0), image, nothing_trains), image)
    found = work(lambda v, x: model.apply(v, x, nothing_trains), variables, image)
    classifier = 1000 * (512 if depth < 50 else 2048)
    assert found.flops / 2 + classifier == pytest.approx(products, abs=0.0005e9)


def test_an_efficientnet_is_as_much_work_as_torchvision_publishes():
    model = Classifier(EFFICIENTNET_TORCHVISION["b3"], 1000)
    image = jax.ShapeDtypeStruct((1, 300, 300, 3), jnp.float32)
    found = work(model.apply, efficientnet.shapes(model, (300, 300)), image)
    assert found.flops / 2 == pytest.approx(1.827e9, abs=0.0005e9)
