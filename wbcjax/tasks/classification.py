"""EfficientNet as a task for the training loop, and the evaluation of a trained one on a split of crops."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from wbcjax.batch import CropBatch
from wbcjax.evaluate.classification import ClassificationScores, classification_scores
from wbcjax.evaluate.classification_table import classification_table
from wbcjax.evaluate.predictions import Predictions, save_predictions
from wbcjax.evaluate.scores import write_json
from wbcjax.evaluate.temperature import scaled
from wbcjax.input.crop_contents import tell_other_cut
from wbcjax.input.crop_pipeline import crop_batches
from wbcjax.input.crop_set import CropSource, crop_part_of, crop_sources
from wbcjax.input.pipeline import Stream
from wbcjax.input.settings import dataset_problems
from wbcjax.input.split import SplitSettings
from wbcjax.models import efficientnet
from wbcjax.models.backbone import Trains
from wbcjax.models.efficientnet import Classifier
from wbcjax.models.variables import Tree, Variables
from wbcjax.predict.classifier import CropClassifier, crop_classifier, live_network
from wbcjax.predict.views import TURNS
from wbcjax.report.classification_figures import (
    confusion_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    training_figure,
    write_figure,
)
from wbcjax.report.mistake_sheet import mistake_sheet
from wbcjax.report.run_report import write_classification_report
from wbcjax.runs.data_note import NOTE, in_noted_folder, note_in, refuse_forgotten, settle_parts
from wbcjax.runs.folder import CLASSIFICATION, load_facts, report_path
from wbcjax.runs.initial_weights import starting_weights
from wbcjax.runs.log import read_log
from wbcjax.system import run_files
from wbcjax.system.files import write_png
from wbcjax.system.processes import gather, is_first, process_share
from wbcjax.system.progress import shown
from wbcjax.system.terminal import Block
from wbcjax.tasks.asked import (
    asked_classifiers,
    asked_how,
    calibrate_predictions,
    check_asked,
    predictions_before,
    unseen_by,
)
from wbcjax.tasks.class_counts import tell_classes
from wbcjax.tasks.experiment import Experiment, Exportable, Scored, Step
from wbcjax.tasks.initial import initial_weights
from wbcjax.tasks.reported_run import reported_run
from wbcjax.tasks.rules import loss_problems, missing_data, missing_weights
from wbcjax.tasks.scored_part import default_part, other_part, own_part, scored_note
from wbcjax.tasks.settings import ClassificationConfig
from wbcjax.train.classification_losses import LOSSES, classification_losses
from wbcjax.train.task import Task

LEAST_PROBABILITY = 1e-7  # lower ones are clipped to it for the validation loss, as in Keras's crossentropy
WATCHED = ("accuracy",)


class Classification(Experiment):
    """The class of the cell in a crop, predicted by an EfficientNet."""

    Settings = ClassificationConfig
    kind = CLASSIFICATION

    @property
    def title(self) -> str:
        return "EfficientNet"

    def problems(self) -> Iterator[str]:
        yield from dataset_problems(self.settings.dataset)
        yield from loss_problems(self.settings.train, LOSSES)
        if cells := self.settings.augment.paste.cells:
            yield (
                f"config.augment.paste.cells is {cells}: cells are pasted into fields, and a crop shows one: give 0; "
                "config.mix mixes crops"
            )

    def missing(self) -> Iterator[str]:
        yield from missing_weights(self.settings.init_from)
        yield from missing_data(self.settings.dataset)

    def task(self, workdir: Path | None = None) -> Task:
        return classification_task(self.settings, workdir)

    def step(self) -> Step:
        dataset, model = self.settings.dataset, classifier(self.settings, cpu=False)

        def batch(images: int) -> CropBatch:
            return CropBatch(
                image=jax.ShapeDtypeStruct((images, *dataset.canvas, 3), jnp.uint8),
                target=jax.ShapeDtypeStruct((images, len(dataset.classes)), jnp.float32),
                index=jax.ShapeDtypeStruct((images,), jnp.int32),
            )

        return Step(
            variables=efficientnet.shapes(model, dataset.canvas),
            losses=crop_losses(model, self.settings.loss.label_smoothing),
            batch=batch,
            stage_of=model.settings.stage_of,
            watched=WATCHED,
            dtype=self.settings.model.dtype,
        )

    def exportable(self) -> Exportable:
        dataset = self.settings.dataset

        def network(cpu: bool) -> Callable[..., dict[str, jax.Array]]:
            name = live_network(self.settings.model, dataset.classes, cpu)
            return lambda variables, crops: {"probabilities": name(variables, crops)}

        inputs = [((*dataset.canvas, 3), np.uint8)]
        return Exportable(network, inputs, self.settings.model, dataset.classes)

    def part_to_score(self) -> str:
        return default_part(self.settings.dataset)

    def check_scored(self, scored: Scored, workdir: Path) -> None:
        if scored.is_other and not scored.crops:
            raise ValueError(f"{workdir} is a run of classification: score it on other crops, by --crops")
        if scored.classifier:
            raise ValueError(f"{workdir} is a run of classification: --classifier is for a detector's run")
        check_asked(scored, workdir)

    def evaluate(self, workdir: Path, checkpoint: str, scored: Scored, out: Path) -> list[Block]:
        found = evaluate_classifier(self, workdir, checkpoint, scored, out)
        words, *rest = classification_table(found)
        return [words, found["scored"]["sentence"], *rest]


def classification_task(settings: ClassificationConfig, workdir: Path | None = None) -> Task:
    """Training and validation of the classifier that `settings` describe; builds its data set when there is none yet.

    Images that a run in `workdir` was trained on do not validate, see `settle_parts`.
    """
    model, dataset = classifier(settings), settings.dataset
    parts, note = settle_parts(crop_sources(dataset), settings.init_from, workdir, dataset.apart)
    train, val = crop_part_of(parts, "train"), crop_part_of(parts, "val")
    tell_classes({name: part.counts() for name, part in parts.items()}, dataset.classes)
    on_trial = crop_classifier(live_network(settings.model, dataset.classes), dataset)

    def evaluate(variables: Variables) -> dict[str, float]:
        return _summary(classify_split([on_trial.with_variables(variables)], val))

    facts = {"cut": train.cut, NOTE: note.plain()}
    return Task(
        images=len(train),
        init_variables=lambda seed: efficientnet.init(model, dataset.canvas, seed),
        losses=crop_losses(model, settings.loss.label_smoothing),
        train_batches=lambda seed, index, count: crop_batches(
            train, dataset, settings.augment, settings.mix, Stream(settings.train.batch_size, seed, index, count)
        ),
        evaluate=evaluate,
        names=lambda index: [train.names[i] for i in index],
        best_score="accuracy",
        facts=facts,
        check_workdir=functools.partial(refuse_forgotten, facts),
        start=starting_weights(initial_weights(settings), settings.model),
        stage_of=model.settings.stage_of,
        watched=WATCHED,
    )


def classifier(settings: ClassificationConfig, cpu: bool | None = None) -> Classifier:
    """The EfficientNet that a whole experiment's `settings` describe; `cpu` as in `efficientnet.build`."""
    return efficientnet.build(settings.model, len(settings.dataset.classes), cpu)


def crop_losses(model: Classifier, label_smoothing: float) -> Callable:
    """The losses of `model`, as in `Task`; they need no data set."""

    def losses(
        variables: Variables, batch: CropBatch, keys: jax.Array, trains: Trains, axis_name: str
    ) -> tuple[dict[str, jax.Array], Tree]:
        collections = [name for name in variables if name != "params"]
        logits, changed = model.apply(variables, batch.image, keys, axis_name, trains, mutable=collections)
        return classification_losses(logits, batch.target, label_smoothing), changed

    return losses


def evaluate_classifier(
    experiment: Classification, workdir: Path, checkpoint: str, asked: Scored, out: Path
) -> ClassificationScores:
    """Scores of the classifier of a run of `experiment` on the data `asked`: a part of its crops, or another folder's.

    Crops that the run was trained on are left out of "val" and of the folder `asked.crops`; "test" is also without
    those that chose its checkpoint. The entry "scored" is `wbcjax.tasks.scored_part.scored_note` of the data.

    Writes into the folder `out`: scores.json, predictions.json (from which the scores can be computed again), the
    figures confusion, roc, precision_recall and reliability, curves.png of the training, mistakes.png with the most
    confident mistakes, and the report, see `report_path`.
    """
    settings, note = experiment.settings, note_in(load_facts(workdir), workdir)
    trained_on, moved = in_noted_folder(settings.dataset, note)
    models = asked_classifiers(workdir, checkpoint, asked)
    split, crops = asked.split, asked.crops
    dataset, scored = trained_on, split if crops is None else out.name
    if crops is not None:
        none = SplitSettings(train_fraction=0.0)
        dataset, split = dataclasses.replace(dataset, crops="", val_crops=crops, test_crops="", split=none), "val"
    parts = crop_sources(dataset)
    if crops is None:
        source = own_part(parts, split, note, workdir, apart=split in dataset.apart, moved=moved)
    else:
        source = other_part(crop_part_of(parts, split), crops, note, workdir)
    source = unseen_by(source, split, asked.with_runs, apart=crops is not None or split in dataset.apart)
    splits = {name: part.counts() for name, part in parts.items() if name != split}
    if crops is not None:
        tell_other_cut(crops, source.cut, trained_on.crops, models[0].cut)
    predictions, temperature = classify_split(models, source), models[0].temperature
    if asked.calibrate:
        temperature = calibrate_predictions(workdir, checkpoint, asked, predictions)
        predictions = dataclasses.replace(predictions, probabilities=scaled(predictions.probabilities, temperature))
    found = classification_scores(predictions, settings.evaluate.bootstrap, settings.seed)
    if temperature != 1:
        found["uncalibrated"] = predictions_before(predictions, temperature)
    left_out = len(parts[split]) - len(source)
    found["scored"] = scored_note(split, checkpoint, f"{len(source)} crops", left_out, crops, noted=note is not None)
    found["scored"]["sentence"] += asked_how(workdir, asked, len(TURNS))
    save_predictions(out / run_files.PREDICTIONS, predictions)
    write_json(out / run_files.SCORES, found)
    for name, figure in (
        (run_files.CONFUSION, confusion_figure(found)),
        (run_files.ROC, roc_figure(found)),
        (run_files.PRECISION_RECALL, precision_recall_figure(found)),
        (run_files.RELIABILITY, reliability_figure(found["calibration"], "crops")),
        (run_files.CURVES, training_figure(read_log(Path(workdir) / run_files.METRICS))),
    ):
        write_figure(out / name, figure)
    write_png(out / run_files.MISTAKES, mistake_sheet(source.image, predictions))
    run = reported_run(workdir, experiment.title, experiment.values, dataset, scored, splits)
    write_classification_report(report_path(Path(workdir), out), run, source.image, predictions, found, source.cut)
    return found


def classify_split(models: Sequence[CropClassifier], crops: CropSource) -> Predictions:
    """True classes, and the mean probabilities of models of the same classes, for the crops of a split.

    Of several processes each predicts its share of the crops; all get the whole result.
    """
    mine = process_share(len(crops))
    found = np.mean([_probabilities(model, crops, mine) for model in models], axis=0)
    return Predictions(
        names=crops.names,
        groups=() if crops.groups == crops.names else crops.groups,  # where none is known each crop is its own
        labels=np.asarray(crops.labels, np.int64),
        probabilities=np.concatenate(gather([found])),
        classes=models[0].classes,
    )


def _probabilities(model: CropClassifier, crops: CropSource, numbers: Sequence[int]) -> Float[np.ndarray, "n c"]:
    images = (crops.image(i) for i in shown(numbers, "evaluate", "crop", active=is_first()))
    return model.probabilities_of_enhanced(images)


def _summary(predictions: Predictions) -> dict[str, float]:
    """The scores that a run logs; without AUROC where val has crops of one class only."""
    found = classification_scores(predictions, bootstrap=0)
    of_label = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
    kept = {
        "accuracy": found["accuracy"]["value"],
        "auroc": found["auroc"]["value"],
        "loss": float(-np.log(np.maximum(of_label, LEAST_PROBABILITY)).mean()),
        "ece": found["calibration"]["ece"],
    }
    return {name: value for name, value in kept.items() if not math.isnan(value)}
