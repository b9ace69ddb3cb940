"""ConvNeXt: counts of its weights, their stages, and what must not change its values."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.models.backbone import nothing_trains
from wbcjax.models.convnext import SIZES, ConvNeXt

# torchvision/models/convnext.py, `num_params` of ConvNeXt_Tiny_Weights.IMAGENET1K_V1 and of Small; their classifier.
PUBLISHED, CLASSIFIER = {"tiny": 28_589_128, "small": 50_223_688}, 2 * 768 + 768 * 1000 + 1000


def shapes(model: ConvNeXt) -> dict[tuple[str, ...], tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    found = jax.eval_shape(lambda image: model.init(jax.random.key(0), image, nothing_trains), image)
    assert found.keys() == {"params"}
    flat: dict[tuple[str, ...], Any] = flatten_dict(found["params"])
    return {path: leaf.shape for path, leaf in flat.items()}


@pytest.mark.parametrize("size", PUBLISHED)
def test_it_has_as_many_weights_as_torchvision_publishes(size):
    count = {path: math.prod(shape) for path, shape in shapes(ConvNeXt(size=size)).items()}
    of_outputs = sum(weights for path, weights in count.items() if path[0] in {f"level{k}_norm" for k in (2, 3, 4, 5)})
    assert of_outputs == 2 * (96 + 192 + 384 + 768)
    assert sum(count.values()) - of_outputs + CLASSIFIER == PUBLISHED[size]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_its_blocks_and_channels(size):
    found = shapes(ConvNeXt(size=size))
    for level, blocks in enumerate(SIZES[size].blocks, start=2):
        named = [path for path in found if path[0].startswith(f"level{level}_") and path[1] == "depthwise_bias"]
        assert [found[path] for path in named] == [(SIZES[size].width * 2 ** (level - 2),)] * blocks


def test_every_weight_is_of_the_stage_that_makes_its_level():
    model = ConvNeXt(size="atto")
    found = {path[0]: model.stage_of(path) for path in shapes(model)}
    assert found.pop("stem") == found.pop("stem_norm") == 1
    assert found == {name: int(name[5]) for name in found}
    assert set(found.values()) == {2, 3, 4, 5}


def test_its_title_names_the_size_as_the_papers_do():
    titles = [ConvNeXt().clone(size=size).title for size in SIZES]
    assert titles == ["ConvNeXt-A", "ConvNeXt-F", "ConvNeXt-P", "ConvNeXt-N", "ConvNeXt-T", "ConvNeXt-S"]


@pytest.mark.slow
def test_cpu_forms_and_remat_change_no_value_and_no_gradient():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.standard_normal((2, 32, 64, 3)), jnp.float32)
    small = ConvNeXt(width=4, blocks=(1, 1, 2, 1))
    # Fresh, the blocks would add next to nothing to their skip connections.
    params = unflatten_dict(
        {path: rng.normal(0, 0.5, shape).astype(np.float32) for path, shape in shapes(small).items()}
    )

    def made(model):
        def total(params):
            features = model.apply({"params": params}, image, nothing_trains)
            return sum(jnp.sum(jnp.sin(x)) for x in features.values()), features

        return jax.jit(jax.value_and_grad(total, has_aux=True))(params)

    (_, features), gradient = made(small)
    (_, others), other_gradient = made(small.clone(cpu=True, remat=True))
    assert {level: x.shape for level, x in features.items()} == {
        level: (2, 32 // 2**level, 64 // 2**level, 4 * 2 ** (level - 2)) for level in (2, 3, 4, 5)
    }
    for level, x in features.items():
        assert np.std(x) > 0.1
        np.testing.assert_allclose(others[level], x, atol=1e-4)
    for (path, expected), other in zip(
        jax.tree.leaves_with_path(gradient), jax.tree.leaves(other_gradient), strict=True
    ):
        np.testing.assert_allclose(other, expected, atol=1e-3 * np.abs(expected).max() + 1e-6, err_msg=str(path))
