"""What the parts of a detector are refused for before anything is built."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import pytest

from wbcjax.models.backbone import Backbone
from wbcjax.models.mask_head import MaskHead
from wbcjax.models.resnet import ResNet
from wbcjax.models.settings import TORCHVISION, MaskRCNNSettings
from wbcjax.runs.initial_weights import _remedy
from wbcjax.tasks.rules import part_problems


class Plain(Backbone):
    """A backbone that is given neither a dtype nor rematerialisation."""

    width: int = 8


class Halved(Plain):
    dtype: type = jnp.float32


class Silent(nn.Module):
    """A head that says nothing of cells."""

    LOSSES: ClassVar = ("silence",)


def problems(**parts) -> list[str]:
    return list(part_problems(dataclasses.replace(TORCHVISION, **parts), ()))


def test_a_backbone_that_would_ignore_dtype_or_remat_is_refused():
    assert problems(backbone=Plain()) == []
    assert problems(backbone=ResNet(), dtype="bfloat16", remat=True) == []
    told = problems(backbone=Halved(), dtype="bfloat16", remat=True)
    assert told == ["config.model.remat is True, and Halved has no field remat: give it one, or leave it False"]
    (told,) = problems(backbone=Plain(), dtype="bfloat16")
    assert told.startswith("config.model.dtype is 'bfloat16', and Plain has no field dtype")


def test_a_head_without_what_the_network_asks_is_refused():
    assert problems(heads={"silent": Silent()}) == [
        "config.model.heads.silent: Silent has no losses, detect: see docs/extending.md"
    ]
    assert problems(box_head=MaskHead()) == [
        "config.model.box_head: MaskHead has no sample: see docs/extending.md",
        "config.model has 2 parts with a loss 'mask': give each loss a name of its own",
    ]
    assert problems(heads={"more": MaskHead()}) == [
        "config.model has 2 parts with a loss 'mask': give each loss a name of its own"
    ]


@pytest.mark.parametrize(("backbone", "told"), [(ResNet(), "backbone.norm=gn"), (Plain(), "phases train these")])
def test_the_remedy_for_frozen_norms_names_no_key_that_the_backbone_lacks(backbone, told):
    assert told in _remedy("backbone", MaskRCNNSettings(backbone=backbone))
