"""What `config.task` names: a class for each kind of experiment, of which the package has two; see `Experiment`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from ml_collections import ConfigDict

from wbcjax.evaluate.scores import write_json
from wbcjax.models.backbone import HEADS
from wbcjax.runs.stablehlo import Input, Network
from wbcjax.settings.checked import Seed, checked
from wbcjax.settings.parts import as_values
from wbcjax.system import run_files
from wbcjax.system.places import name_of
from wbcjax.train.checkpoint import load_variables
from wbcjax.train.layers import StageOf
from wbcjax.train.settings import TrainSettings
from wbcjax.train.task import Batch, Task, Tree


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """What every config holds, whatever its task."""

    task: str
    seed: Seed
    train: TrainSettings
    version: Literal[2] = 2


@dataclass(frozen=True)
class Scored:
    """What a run is scored on: a part of its own data, or others that are named."""

    split: str = ""  # "train", "val" or "test"; "": the one that `Experiment.part_to_score` names
    annotations: str | None = None
    images: str | None = None
    drawn_seed: int | None = None
    crops: str | None = None

    @property
    def is_other(self) -> bool:
        """Whether it is no part of the run's own data."""
        return self.drawn_seed is not None or any((self.annotations, self.images, self.crops))

    @property
    def name(self) -> str:
        """The name of a folder, which no other data have."""
        if self.drawn_seed is not None:
            return f"drawn_{self.drawn_seed}"
        if others := [place for place in (self.annotations, self.images, self.crops) if place]:
            return name_of(*others)
        return self.split


class Step(NamedTuple):
    """What a step of a training is made of, without any data."""

    variables: dict[str, Tree]  # as shapes
    losses: Callable[..., Any]  # as in `Task`
    batch: Callable[[int], Batch]  # as shapes, of a number of images
    stage_of: StageOf = lambda _: HEADS  # as in `Task`
    watched: tuple[str, ...] = ()  # as in `Task`
    dtype: str = "float32"  # of most of the work


class Exportable(NamedTuple):
    """A model as it is exported."""

    network: Callable[[bool], Network]  # whether it is for CPUs -> (variables, arrays) -> arrays by name
    inputs: Sequence[Input]  # the arrays beside its variables, each with the images first
    settings: Any  # of the model; those of `wbcjax.models.settings` are noted beside its weights
    classes: tuple[str, ...] = ()


class Experiment:
    """A kind of experiment: what its config may hold, and what is trained, scored and exported.

    A class of your own derives from this one or from one of ours, and gives `Settings` and `task` alone, or more of
    the methods: `config.task = "my_lab.counting:Counting"`. Raises ConfigError for a config that is none of its own.
    """

    Settings: ClassVar[type[ExperimentSettings]]  # a frozen dataclass of the whole config
    # What a run can be used as: "detection", by `wbcjax.load` and `wbcjax predict`, and "classification", by
    # `load_classifier`; of both the weights can start another run. "": none of it.
    kind: ClassVar[str] = ""

    def __init__(self, config: ConfigDict) -> None:
        self.settings: Any = checked(self.Settings, config, "config")  # a `Settings`

    @property
    def values(self) -> dict[str, Any]:
        """The whole config, with all defaults."""
        return as_values(self.settings)

    @property
    def title(self) -> str:
        """Of the model, such as "Mask R-CNN on ResNet-50"."""
        return type(self).__name__

    def problems(self) -> Iterable[str]:
        """What contradicts each other in the settings, a line each: key, value, remedy."""
        return ()

    def missing(self) -> Iterable[str]:
        """What this machine lacks for the training, such as files, a line each."""
        return ()

    def task(self, workdir: Path | None = None) -> Task:
        """Model and data for the training loop in `workdir`. Raises OSError or ValueError for what cannot be used."""
        raise NotImplementedError(f"{type(self).__name__} has no method task")

    def step(self) -> Step | None:
        """What `wbcjax plan` needs, and what rules on weights are checked with; None: neither is done."""
        return None

    def exportable(self) -> Exportable | None:
        """What `wbcjax export` needs; None: there is no export."""
        return None

    def part_to_score(self) -> str:
        """The part of the data that a run is scored on unless another one is asked for."""
        return "val"

    def check_scored(self, scored: Scored, workdir: Path) -> None:
        """Raise ValueError for what a run of this kind, in `workdir`, cannot be scored on."""
        if scored.is_other or scored.split != "val":
            raise ValueError(f"{workdir} is a run of {self.settings.task}: it is scored on its own part val alone")

    def evaluate(self, workdir: Path, checkpoint: str, scored: Scored, out: Path) -> str:
        """Score the run in `workdir` by its "best" or "latest" checkpoint, write into the folder `out`, and return
        what is to be told: here the scores that the training keeps track of."""
        variables, _ = load_variables(workdir, checkpoint)
        found = self.task(workdir).evaluate(variables)
        write_json(out / run_files.SCORES, found)
        return "\n".join(f"{name:<20} {value:.4f}" for name, value in found.items())
