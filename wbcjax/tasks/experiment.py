"""Kinds of experiments, which `config.task` names: the base class `Experiment` and its results."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from ml_collections import ConfigDict

from wbcjax.evaluate.scores import write_json
from wbcjax.models.backbone import HEADS
from wbcjax.models.variables import Variables
from wbcjax.runs.packed import variables_of
from wbcjax.runs.stablehlo import Input, Network
from wbcjax.settings.checked import Seed, checked
from wbcjax.settings.parts import as_values
from wbcjax.system import run_files
from wbcjax.system.places import name_of
from wbcjax.system.terminal import Block, Table
from wbcjax.train.layers import StageOf
from wbcjax.train.settings import TrainSettings
from wbcjax.train.task import Batch, Task


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """The settings of every config, whatever its task."""

    task: str
    seed: Seed
    train: TrainSettings
    version: Literal[3] = 3


@dataclass(frozen=True)
class Scored:
    """What is scored: the data, a part of a run's own or others that are named, and how the run is asked."""

    split: str = ""  # "train", "val" or "test"; "": the one that `Experiment.part_to_score` names
    annotations: str | None = None
    images: str | None = None
    drawn_seed: int | None = None
    crops: str | None = None
    with_runs: tuple[Path, ...] = ()  # that are asked together with it
    classifier: Path | None = None  # a run on crops, which names the cells that are found
    tta: bool = False  # by test-time augmentation
    calibrate: bool = False  # fit the temperature of its scores to these data first, and keep it with the run

    @property
    def is_plain(self) -> bool:
        """Whether the run alone is asked, as it is."""
        return not (self.with_runs or self.tta or self.calibrate or self.classifier)

    @property
    def is_other(self) -> bool:
        """Whether these are not the run's own data."""
        return self.drawn_seed is not None or any((self.annotations, self.images, self.crops))

    @property
    def name(self) -> str:
        """The name of a folder for the results, unique to these data and this way to ask."""
        joined = f"_with_{name_of(*map(str, self.with_runs))}" if self.with_runs else ""
        named = f"_named_by_{name_of(str(self.classifier))}" if self.classifier else ""
        return f"{self._data}{'_tta' if self.tta else ''}{joined}{named}"

    @property
    def _data(self) -> str:
        if self.drawn_seed is not None:
            return f"drawn_{self.drawn_seed}"
        if others := [place for place in (self.annotations, self.images, self.crops) if place]:
            return name_of(*others)
        return self.split


class Step(NamedTuple):
    """The parts of a training step, without data."""

    variables: Variables  # as shapes
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
    """A kind of experiment: its settings, its training, and its evaluation and export.

    A class of your own derives from this one or from one of ours. It has `Settings` and `task`, and may have more of
    the methods: `config.task = "my_lab.counting:Counting"`. Raises ConfigError for a config that does not fit
    `Settings`.
    """

    Settings: ClassVar[type[ExperimentSettings]]  # a frozen dataclass of the whole config
    # The use of a run: "detection", by `wbcjax.load` and `wbcjax predict`, or "classification", by `load_classifier`;
    # weights of both can start another run. "": none of these.
    kind: ClassVar[str] = ""

    def __init__(self, config: ConfigDict) -> None:
        self.settings: Any = checked(self.Settings, config, "config")  # a `Settings`

    @property
    def values(self) -> dict[str, Any]:
        """The whole config, with all defaults."""
        return as_values(self.settings)

    @property
    def title(self) -> str:
        """The title of the model, such as "Mask R-CNN on ResNet-50"."""
        return type(self).__name__

    def problems(self) -> Iterable[str]:
        """Contradictions in the settings, a line each: key, value, remedy."""
        return ()

    def missing(self) -> Iterable[str]:
        """Files and the like that this machine lacks for the training, a line each."""
        return ()

    def task(self, workdir: Path | None = None) -> Task:
        """Model and data for the training loop in `workdir`. Raises OSError or ValueError for unusable data."""
        raise NotImplementedError(f"{type(self).__name__} has no method task")

    def step(self) -> Step | None:
        """The step for `wbcjax plan` and for checks of rules on weights; None: neither is possible."""
        return None

    def exportable(self) -> Exportable | None:
        """The model for `wbcjax export`; None: it cannot be exported."""
        return None

    def part_to_score(self) -> str:
        """The part of the data that a run is scored on by default."""
        return "val"

    def check_scored(self, scored: Scored, workdir: Path) -> None:
        """Raise ValueError for data that a run of this kind, in `workdir`, cannot be scored on."""
        if scored.is_other or scored.split != "val":
            raise ValueError(f"{workdir} is a run of {self.settings.task}: it is scored on its own part val alone")
        if not scored.is_plain:
            raise ValueError(f"{workdir} is a run of {self.settings.task}: it is scored alone, as it is")

    def evaluate(self, workdir: Path, checkpoint: str, scored: Scored, out: Path) -> list[Block]:
        """Score the run in `workdir` by its "best" or "latest" checkpoint, write into the folder `out`, and return the
        scores to print, the most important first: here those that the training logs."""
        variables, _ = variables_of(workdir, checkpoint)
        found = self.task(workdir).evaluate(variables)
        write_json(out / run_files.SCORES, found)
        return [Table("Scores", (), tuple((name, f"{value:.4f}") for name, value in found.items()))]
