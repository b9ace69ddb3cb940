"""What stands under a detector or a classifier: features of images, and what the rest of the package asks of them.

A backbone of one's own derives from `Backbone`; docs/extending.md has one, whole.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn

STEM, HEADS = 1, 6  # the stages below and above those that make the features of levels 2 to 5

Trains = Callable[[int], bool]  # whether the layers of a stage train, and its batch norms take the batch's statistics
Part = TypeVar("Part", bound=nn.Module)


class Backbone(nn.Module):
    """Images into features at strides 4, 8, 16 and 32, which are levels 2 to 5.

    __call__: (image (n, h, w, 3), trains, axis_name) -> {level: features (n, h / 2^level, w / 2^level, c)}. Norms by
        batch statistics ask `trains(stage)` whether to take and keep the batch's own, over the devices of `axis_name`.
    The fields are what the config may set, but for `dtype`, `remat` and `cpu`: a network gives those to a backbone that
    has such fields.
    """

    def stage_of(self, path: tuple[str, ...]) -> int | None:
        """The stage of a weight by its path below the backbone: 1 the stem, k what makes the features of level k.

        Phases such as "4+" train the stages from that one on. None: it does not say, and such phases are refused.
        """
        return None

    @property
    def title(self) -> str:
        """What reports and model cards call it."""
        return type(self).__name__

    @property
    def keeps_statistics(self) -> bool:
        """Whether it has batch norms that use stored statistics also while they train."""
        return False


def nothing_trains(stage: int) -> bool:
    """`Trains` of a prediction."""
    return False


def everything_trains(stage: int) -> bool:
    """`Trains` of a phase of all layers."""
    return True


def given(part: Part, **values: Any) -> Part:
    """A fresh module of a part, with those of the `values` that it has fields for."""
    known = {field.name for field in dataclasses.fields(part)}
    return part.clone(**{name: value for name, value in values.items() if name in known})
