"""The base class of backbones: features of images, and the stages of their layers.

A backbone of your own derives from `Backbone`; docs/extending.md has a whole one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import flax.linen as nn

STEM, HEADS = 1, 6  # the stages below and above those that make the features of levels 2 to 5

Trains = Callable[[int], bool]  # whether the layers of a stage train, and its batch norms take the batch's statistics
Part = TypeVar("Part", bound=nn.Module)


class Backbone(nn.Module):
    """Images into features at strides 4, 8, 16 and 32, which are levels 2 to 5.

    __call__: (image (n, h, w, 3), trains, axis_name) -> {level: features (n, h / 2^level, w / 2^level, c)}. Batch norms
        use and store the batch's statistics, over the devices of `axis_name`, where `trains(stage)`.
    The config may set the fields, except `dtype`, `remat` and `cpu`, which the network gives to a backbone that has
    them.
    """

    # Fields with which trained weights must be used: `config.init_from` refuses weights that need other values.
    WEIGHTS_NEED: ClassVar[tuple[str, ...]] = ()
    # Modules for detection alone: where weights have none of them, as those of classifiers, they start anew.
    FOR_DETECTION: ClassVar[tuple[str, ...]] = ()

    def stage_of(self, path: tuple[str, ...]) -> int | None:
        """The stage of a weight by its path below the backbone: 1 of the stem, k of the layers that make level k.

        Phases such as "4+" train the stages from that one on. None: stages are not known, and such phases are refused.
        """
        return None

    @property
    def title(self) -> str:
        """The name in reports and model cards."""
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
    """A copy of a part, with those of the `values` that it has fields for."""
    known = {field.name for field in dataclasses.fields(part)}
    return part.clone(**{name: value for name, value in values.items() if name in known})
