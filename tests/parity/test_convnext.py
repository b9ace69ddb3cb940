"""ConvNeXt-T against torchvision's, with the same weights, level by level (`pytest -m parity`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tests.parity.fill import fill
from wbcjax.models.backbone import nothing_trains
from wbcjax.models.convnext import NORM_EPSILON, SIZES, ConvNeXt

TOLERANCE = 1e-4  # largest difference, relative to the largest value of the reference
SEED = 43


def ours(weights: dict[str, np.ndarray]) -> dict:
    """torchvision's arrays in our tree; the norms of the levels, which it has none of, leave values as they are."""
    tree = {("stem", "kernel"): weights["features.0.0.weight"].transpose(2, 3, 1, 0)}
    tree["stem", "bias"] = weights["features.0.0.bias"]
    tree |= norm(weights, "features.0.1", "stem_norm")
    for level, blocks in enumerate(SIZES["tiny"].blocks, start=2):
        if level > 2:
            down = f"features.{2 * level - 4}"
            tree |= norm(weights, f"{down}.0", f"level{level}_down_norm")
            tree[f"level{level}_down", "kernel"] = weights[f"{down}.1.weight"].transpose(2, 3, 1, 0)
            tree[f"level{level}_down", "bias"] = weights[f"{down}.1.bias"]
        for i in range(blocks):
            theirs, block = f"features.{2 * level - 3}.{i}", f"level{level}_{i}"
            tree[block, "depthwise", "kernel"] = weights[f"{theirs}.block.0.weight"][:, 0].transpose(1, 2, 0)
            tree[block, "depthwise_bias"] = weights[f"{theirs}.block.0.bias"]
            tree |= norm(weights, f"{theirs}.block.2", block, "norm")
            for number, name in ((3, "expand"), (5, "project")):
                tree[block, name, "kernel"] = weights[f"{theirs}.block.{number}.weight"].T
                tree[block, name, "bias"] = weights[f"{theirs}.block.{number}.bias"]
            tree[block, "scale"] = weights[f"{theirs}.layer_scale"][:, 0, 0]
        channels = SIZES["tiny"].width * 2 ** (level - 2)
        tree[f"level{level}_norm", "scale"], tree[f"level{level}_norm", "bias"] = np.ones(channels), np.zeros(channels)
    return {"params": unflatten_dict(tree)}


def norm(weights: dict[str, np.ndarray], theirs: str, *module: str) -> dict[tuple[str, ...], np.ndarray]:
    return {(*module, "scale"): weights[f"{theirs}.weight"], (*module, "bias"): weights[f"{theirs}.bias"]}


@pytest.mark.parity
def test_features_of_every_level_equal_torchvisions_after_a_norm():
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    torch.set_num_threads(1)
    model = torchvision.models.convnext_tiny(weights=None).eval()
    weights = {name: fill(name, tuple(value.shape), SEED) for name, value in model.state_dict().items()}
    weights |= {name: np.abs(value) for name, value in weights.items() if name.endswith("layer_scale")}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    image = np.random.default_rng(SEED).standard_normal((1, 64, 96, 3)).astype(np.float32)

    found = jax.jit(ConvNeXt(cpu=True).apply, static_argnums=2)(ours(weights), jnp.asarray(image), nothing_trains)

    with torch.no_grad():
        x = torch.from_numpy(image).permute(0, 3, 1, 2)
        for number, module in enumerate(model.features):
            x = module(x)
            if number % 2:
                theirs = x.permute(0, 2, 3, 1)
                theirs = torch.nn.functional.layer_norm(theirs, theirs.shape[-1:], eps=NORM_EPSILON).numpy()
                mine = found[number // 2 + 2]
                assert mine.shape == theirs.shape
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())
    assert number == 7
