"""Layers by their weights, and the form that a convolution takes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.ops.test_conv import arrays
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.models import settings as s
from wbcjax.models.cascade import Cascade
from wbcjax.models.conv import Conv, DepthwiseConv
from wbcjax.models.mask_head import Deconv2x2, lay_out_blocks
from wbcjax.models.norm import FrozenBatchNorm


@functools.partial(jax.jit, static_argnums=0)
def applied(network, variables, image):
    return network.apply(variables, image)


@pytest.mark.parametrize("layer", [Conv(4, 1, 2), Conv(4, 3), Conv(4, 3, 2, same=True), DepthwiseConv(5, 2)], ids=repr)
def test_a_layer_in_the_form_for_cpus_gives_the_same_values(layer):
    (x,) = arrays((2, 48, 64, 3))
    variables = layer.init(jax.random.key(0), x)
    np.testing.assert_allclose(applied(layer.clone(cpu=True), variables, x), applied(layer, variables, x), atol=1e-5)


def test_two_networks_of_different_forms_get_a_program_each():
    """As they would not if the form were chosen by what jit does not see."""
    plain = efficientnet.Classifier(dataclasses.replace(s.EFFICIENTNET_KERAS["b0"], width=0.25, depth=0.1), 3)
    variables, image = efficientnet.shapes(plain, (32, 32)), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    networks = plain, plain.clone(cpu=True), plain
    programs = [applied.lower(network, variables, image).as_text() for network in networks]
    assert ["feature_group_count = 8" in program for program in programs] == [True, False, True]


def test_a_configured_network_has_this_backends_form():
    """A network made of its settings has the form for this backend unless told."""
    here = jax.default_backend() == "cpu"
    for module, settings in ((efficientnet, s.EFFICIENTNET_KERAS["b0"]), (mask_rcnn, s.TORCHVISION)):
        assert [module.build(settings, 3, cpu).cpu for cpu in (None, True, False)] == [here, True, False]


@pytest.mark.parametrize("cpu", [True, False])
def test_every_part_is_in_the_networks_form(cpu):
    def forms(model):
        parts = model.backbone, model.fpn, model.rpn, model.box_head, *model.box_head.stages, model.mask_head
        return {type(part).__name__: part.cpu for part in parts}

    settings = dataclasses.replace(s.TORCHVISION, box_head=Cascade())
    names = ("ResNet", "Fpn", "Rpn", "Cascade", "BoxHead", "MaskHead")
    assert mask_rcnn.MaskRCNN(settings, 3, cpu).apply({}, method=forms) == dict.fromkeys(names, cpu)


def test_the_upsampling_by_a_product_equals_a_transposed_convolution():
    x, kernel = arrays((2, 3, 4, 5), (5, 4, 6))
    module = Deconv2x2(6)
    blocks = module.apply({"params": {"kernel": kernel, "bias": jnp.zeros(6)}}, x)
    ours = lay_out_blocks(jnp.asarray(blocks))
    # conv_transpose slides its kernel as it stands; a transposed convolution mirrors it.
    mirrored = kernel.reshape(5, 2, 2, 6).transpose(1, 2, 0, 3)[::-1, ::-1]
    theirs = jax.lax.conv_transpose(x, mirrored, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_frozen_batch_norm_normalises_by_the_stored_statistics():
    x, scale, bias, mean, var = arrays((4, 3), (3,), (3,), (3,), (3,))
    stats = {"scale": scale, "bias": bias, "mean": mean, "var": var**2}
    ours = FrozenBatchNorm(1e-5).apply({"batch_stats": stats}, x)
    np.testing.assert_allclose(
        np.asarray(ours), (x - mean) / np.sqrt(var**2 + 1e-5) * scale + bias, rtol=1e-5, atol=1e-5
    )
