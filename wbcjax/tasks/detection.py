"""Mask R-CNN as a task for the training loop, and the evaluation of a trained one on a split of annotated fields."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from wbcjax.batch import Batch
from wbcjax.evaluate.cell_scores import cell_scores
from wbcjax.evaluate.cell_table import cell_table, in_words, worst_fields
from wbcjax.evaluate.cells_csv import Row, cell_rows
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, annotate, save
from wbcjax.evaluate.image_scores import subtype_scores
from wbcjax.evaluate.image_table import image_table
from wbcjax.evaluate.reliability import calibration_line
from wbcjax.evaluate.scores import Scores, detection_scores, table, write_json
from wbcjax.evaluate.two_stages import two_stage_table
from wbcjax.evaluate.vote import SUBTYPES
from wbcjax.input.cell_sizes import CELL_SIDES, PIXEL_SIZE, cell_sides, training_pixel_size
from wbcjax.input.field_set import Source, part_of, source, sources
from wbcjax.input.pipeline import Stream, train_batches
from wbcjax.input.settings import SYNTHETIC, FieldSetSettings, dataset_problems
from wbcjax.input.split import SplitSettings
from wbcjax.input.warp import fit_scale
from wbcjax.models import mask_rcnn
from wbcjax.models.backbone import Trains
from wbcjax.models.limits import check_room
from wbcjax.models.mask_rcnn import MaskRCNN
from wbcjax.models.variables import Tree, Variables
from wbcjax.predict.detector import live_network, predictor
from wbcjax.predict.search import Search
from wbcjax.predict.views import VIEWS
from wbcjax.report.contact_sheet import contact_sheet
from wbcjax.report.run_pictures import Fields, ImageOf
from wbcjax.report.run_report import write_report
from wbcjax.runs.data_note import NOTE, in_noted_folder, note_in, refuse_forgotten, settle_parts
from wbcjax.runs.folder import DETECTION, load_facts, report_path
from wbcjax.runs.initial_weights import starting_weights
from wbcjax.system import run_files
from wbcjax.system.files import write_png
from wbcjax.system.processes import gather, is_first, process_share
from wbcjax.system.progress import shown
from wbcjax.system.terminal import Block
from wbcjax.tasks.asked import (
    asked_detector,
    asked_how,
    calibrate_detections,
    check_asked,
    detections_before,
    unseen_by,
)
from wbcjax.tasks.class_counts import tell_classes
from wbcjax.tasks.experiment import Experiment, Exportable, Scored, Step
from wbcjax.tasks.initial import initial_weights
from wbcjax.tasks.reported_run import reported_run
from wbcjax.tasks.rules import detector_problems, loss_problems, missing_data, missing_weights, part_problems
from wbcjax.tasks.scored_part import default_part, other_part, own_part, scored_note
from wbcjax.tasks.settings import DetectionConfig
from wbcjax.tasks.two_stages import asked_classifier, two_stages
from wbcjax.train.task import Task

log = logging.getLogger(__name__)

PLANNED_WINDOW = 128  # pixels: a side of masks' windows where there is no set to tell how large its cells are


class Detection(Experiment):
    """Cells of annotated fields, found by a Mask R-CNN."""

    Settings = DetectionConfig
    kind = DETECTION

    @property
    def title(self) -> str:
        return f"Mask R-CNN on {self.settings.model.backbone.title}"

    def problems(self) -> Iterator[str]:
        yield from dataset_problems(self.settings.dataset)
        yield from detector_problems(self.settings.model, self.settings.dataset.canvas)
        yield from part_problems(self.settings.model, self.settings.init_parts)
        yield from loss_problems(self.settings.train, self.settings.model.losses)

    def missing(self) -> Iterator[str]:
        yield from missing_weights(self.settings.init_from)
        yield from missing_data(self.settings.dataset)

    def task(self, workdir: Path | None = None) -> Task:
        return detection_task(self.settings, workdir)

    def step(self) -> Step:
        model = detector(self.settings, cpu=False)
        return Step(
            variables=jax.eval_shape(lambda: mask_rcnn.init(model, 0)),
            losses=detection_losses(model),
            batch=lambda images: batch_shapes(self.settings.dataset, images),
            stage_of=model.settings.stage_of,
            dtype=self.settings.model.dtype,
        )

    def exportable(self) -> Exportable:
        dataset = self.settings.dataset

        def network(cpu: bool) -> Callable[..., dict[str, jax.Array]]:
            find = live_network(self.settings.model, dataset.classes, cpu)
            return lambda variables, images, sizes: find(variables, images, sizes)._asdict()

        inputs = [((*dataset.canvas, 3), np.uint8), ((2,), np.float32)]
        return Exportable(network, inputs, self.settings.model, dataset.classes)

    def part_to_score(self) -> str:
        return default_part(self.settings.dataset)

    def check_scored(self, scored: Scored, workdir: Path) -> None:
        if scored.crops:
            raise ValueError(
                f"{workdir} is a run of detection: score it on other fields, by --annotations and --images"
            )
        if bool(scored.annotations) != bool(scored.images):
            raise ValueError("--annotations and --images go together")
        check_asked(scored, workdir)

    def evaluate(self, workdir: Path, checkpoint: str, scored: Scored, out: Path) -> list[Block]:
        found = evaluate_run(self, workdir, checkpoint, scored, out)
        words, *rest = all_tables(found)
        stages = [two_stage_table(found["two_stages"])] if scored.classifier else []
        return [words, found["scored"]["sentence"], *stages, *rest]


def detection_task(settings: DetectionConfig, workdir: Path | None = None) -> Task:
    """Training and validation of the Mask R-CNN that `settings` describe; builds its data set when there is none yet.

    Images that a run in `workdir` was trained on do not validate, see `settle_parts`.
    """
    model, dataset = detector(settings), settings.dataset
    parts, note = settle_parts(sources(dataset), settings.init_from, workdir)
    train, val = part_of(parts, "train"), part_of(parts, "val")
    check_room(settings.model.limits, dataset.max_cells, {"train": train.cells, "val": val.cells})
    if reason := train.uncounted():
        raise ValueError(f"there is nothing to learn from train: {reason}")
    tell_classes({name: part.counts() for name, part in parts.items()}, dataset.classes)
    scales = _scale_range(train, dataset.canvas)
    on_trial = predictor(settings.model, dataset, scales=scales)
    best_score = "mask/AP" if val.outlined() else "box/AP"

    def evaluate(variables: Variables) -> dict[str, float]:
        annotated, detections = detect_split(on_trial.with_variables(variables), val)
        found = detection_scores(annotated, detections, dataset.classes, settings.evaluate.score_threshold)
        return _summary(found, best_score)

    facts = {
        "scale": scales,
        PIXEL_SIZE: training_pixel_size(train.measures, dataset.pixel_size),
        CELL_SIDES: cell_sides(train.measures, dataset.canvas),
        NOTE: note.plain(),
    }
    return Task(
        images=len(train),
        init_variables=lambda seed: jax.device_get(mask_rcnn.init(model, seed)),
        losses=detection_losses(model),
        train_batches=lambda seed, index, count: train_batches(
            train, dataset, settings.augment, Stream(settings.train.batch_size, seed, index, count)
        ),
        evaluate=evaluate,
        names=lambda index: [train.names[i] for i in index],
        best_score=best_score,
        facts=facts,
        check_workdir=functools.partial(refuse_forgotten, facts),
        start=starting_weights(initial_weights(settings), settings.model),
        stage_of=model.settings.stage_of,
    )


def detector(settings: DetectionConfig, cpu: bool | None = None) -> MaskRCNN:
    """The Mask R-CNN that a whole experiment's `settings` describe; `cpu` as in `mask_rcnn.build`."""
    return mask_rcnn.build(settings.model, len(settings.dataset.classes) + 1, cpu)


def detection_losses(model: MaskRCNN) -> Callable:
    """The losses of `model`, as in `Task`; they need no data set."""

    def losses(
        variables: Variables, batch: Batch, keys: jax.Array, trains: Trains, axis_name: str
    ) -> tuple[dict[str, jax.Array], Tree]:
        collections = [name for name in variables if name != "params"]
        return model.apply(variables, batch, keys, trains, axis_name, method="losses", mutable=collections)  # type: ignore[return-value]

    return losses


def batch_shapes(dataset: FieldSetSettings, images: int) -> Batch:
    """The shapes of a batch of `images` fields from the pipeline."""

    def shape(of_image: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct((images, *of_image), dtype)

    cells, canvas = dataset.max_cells, dataset.canvas
    return Batch(
        image=shape((*canvas, 3), jnp.uint8),
        size=shape((2,), jnp.float32),
        boxes=shape((cells, 4), jnp.float32),
        labels=shape((cells,), jnp.int32),
        valid=shape((cells,), bool),
        crowd=shape((cells,), bool),
        outlined=shape((cells,), bool),
        masks=shape((cells, *(min(PLANNED_WINDOW, side) for side in canvas)), jnp.uint8),
        corners=shape((cells, 2), jnp.int32),
        index=shape((), jnp.int32),
    )


def evaluate_run(experiment: Detection, workdir: Path, checkpoint: str, asked: Scored, out: Path) -> Scores:
    """Scores of the model of a run of `experiment` on the data `asked`, written into the folder `out`.

    Fields that the run was trained on are left out of "val" and of other fields; "test" is also without those that
    chose its checkpoint. Other fields than the run's are those of `annotations` (a file of the run's format) and
    `images` (a folder), or, for a run on drawn fields, as many others from `drawn_seed` on. `checkpoint` is "best" or
    "latest".

    The scores are those of `detection_scores`, with those of `cell_scores` as "cells", and those of `subtype_scores` as
    "images" or the reason why there are none as "without_votes". "scored" is the `scored_note` of the data, "drawn"
    whether the fields are drawn ones. Writes scores.json, detections.json (from which the scores can be computed
    again), contact_sheet.png (the worst fields first) and the report, see `report_path`.

    With `asked.with_runs` these are asked too, and fields that one of them has seen are left out. With
    `asked.classifier` the scores of `two_stage_scores` are those of "two_stages". Scores that were
    calibrated have those of before as "uncalibrated", with the temperature.
    """
    settings, note = experiment.settings, note_in(load_facts(workdir), workdir)
    dataset, moved = in_noted_folder(settings.dataset, note)
    model = asked_detector(workdir, checkpoint, asked, dataset)
    others, split = _other_fields(dataset, workdir, asked), asked.split
    scored = out.name if others else split
    if others is not None:
        dataset, split = others, "val"
    place = asked.annotations or (f"drawn fields from seed {asked.drawn_seed} on" if others else None)
    parts = sources(dataset)
    if place is None:
        fields = own_part(parts, split, note, workdir, apart=False, moved=moved)
    else:
        fields = other_part(part_of(parts, split), place, note, workdir)
    fields = unseen_by(fields, split, asked.with_runs, apart=place is not None)
    if reason := fields.uncounted():
        log.warning("%s: there is nothing to find: %s", place or split, reason)
    splits = {name: part.counts() for name, part in parts.items() if name != split}
    classifier = asked_classifier(asked, checkpoint, dataset.classes, fields) if asked.classifier else None
    annotated, detections = detect_split(model, fields)
    if asked.calibrate:
        model.temperature = calibrate_detections(workdir, checkpoint, asked, annotated, detections, model.classes)
        detections = [model.calibrated(field) for field in detections]
    found = all_scores(annotated, detections, dataset, settings.evaluate.score_threshold)
    if model.temperature != 1:
        found["uncalibrated"] = detections_before(annotated, detections, model.classes, model.temperature)
    left_out = len(parts[split]) - len(fields)
    known = note is not None or asked.drawn_seed is not None  # drawn fields of other seeds were not trained on
    found["scored"] = scored_note(split, checkpoint, f"{len(fields)} fields", left_out, place, noted=known)
    found["scored"]["sentence"] += asked_how(workdir, asked, len(VIEWS))
    save(out / run_files.DETECTIONS, model.classes, annotated, detections)
    originals = fields
    if dataset.enhance != "none":
        whole = source(dataclasses.replace(dataset, enhance="none"), split)
        originals = whole.select([whole.names.index(name) for name in fields.names])
    original_of = None if originals is fields else _images(originals)
    min_score = settings.evaluate.score_threshold
    if classifier:
        of_both = two_stages(classifier, _images(originals), annotated, detections, dataset.classes, min_score)
        found["two_stages"] = of_both
    write_json(out / run_files.SCORES, found)
    shown = Fields(_images(fields), original_of, annotated, detections, fields.classes, min_score)
    sheet = contact_sheet(_images(fields), annotated, detections, fields.classes, min_score)
    write_png(out / run_files.CONTACT_SHEET, sheet)
    run = reported_run(workdir, experiment.title, experiment.values, dataset, scored, splits)
    rows = _rows(shown, originals, dataset.pixel_size or model.pixel_size)
    write_report(report_path(Path(workdir), out), run, shown, found, rows)
    return found


def all_scores(
    annotated: list[FieldAnnotations], detections: list[FieldDetections], dataset: FieldSetSettings, min_score: float
) -> Scores:
    """The scores of `evaluate_run` but for "scored", for fields of such a set."""
    classes = dataset.classes
    found = detection_scores(annotated, detections, classes, min_score) | {"drawn": dataset.is_drawn}
    found["cells"] = cell_scores(annotated, detections, classes, min_score)
    if reason := without_votes(dataset):
        return found | {"without_votes": reason}
    return found | {"images": subtype_scores(annotated, detections, classes, min_score)}


def without_votes(dataset: FieldSetSettings) -> str:
    """Why the cells of an image do not vote for its subtype; "" where they do.

    An image of a patient with a subtype of leukaemia is of that subtype. A drawn field has a subtype only where it was
    drawn as such a patient's; else it is a random mixture.
    """
    subtypes = [name for name in dataset.classes if name in SUBTYPES]
    if not subtypes:
        return f"no class is one of {', '.join(SUBTYPES)}, so that no cell votes"
    if len(subtypes) == 1:
        return f"of {', '.join(SUBTYPES)} there is {subtypes[0]} alone, for which every cell would vote"
    if dataset.is_drawn and not (dataset.synthetic.subtypes or dataset.synthetic.subtype):
        return (
            "these drawn fields mix cells of every subtype by chance, none is of a patient with one "
            "(config.dataset.synthetic.subtypes draws such), so that no vote is taken"
        )
    return ""


def all_tables(found: Scores) -> list[Block]:
    """The scores of `all_scores` as tables and lines: in words, the worst fields, average precision, then the rest."""
    cells = found["cells"]
    if "images" in found:
        of_images = image_table(found["images"], beside_paper=not found["drawn"])
    else:
        of_images = [f"no subtype of images: {found['without_votes']}"]
    calibration = calibration_line(cells["calibration"], found.get("uncalibrated"))
    return [in_words(cells), *worst_fields(cells), *table(found), *cell_table(cells), calibration, *of_images]


def _images(fields: Source) -> ImageOf:
    return lambda i: fields.field(i).image()


def _rows(fields: Fields, originals: Source, pixel_size: float) -> list[Row]:
    """Of cells.csv: a row for each cell found."""
    return [
        row
        for i in range(len(fields.detections))
        for row in cell_rows(originals.field(i).image(), fields.cells(i), fields.classes, pixel_size)
    ]


def _other_fields(dataset: FieldSetSettings, workdir: Path, asked: Scored) -> FieldSetSettings | None:
    """The set of the other fields `asked` for, all in "val"; None where there are none."""
    drawn, known, drawn_seed = dataset.name == SYNTHETIC, dataset.synthetic, asked.drawn_seed
    if drawn and asked.annotations:
        raise ValueError(f"{workdir} was trained on drawn fields: score it on others of these, by --drawn_seed")
    if not drawn and drawn_seed is not None:
        raise ValueError(
            f"{workdir} was not trained on drawn fields: give --annotations and --images, not --drawn_seed"
        )
    whole = dataclasses.replace(dataset, split=SplitSettings(train_fraction=0.0))
    if asked.annotations:
        return dataclasses.replace(whole, annotations=asked.annotations, images=asked.images or "")
    if drawn_seed is None:
        return None
    if known.seed - known.count < drawn_seed < known.seed + known.count:
        raise ValueError(f"--drawn_seed {drawn_seed} draws fields that {workdir} was trained on; give another one")
    return dataclasses.replace(whole, synthetic=dataclasses.replace(known, seed=drawn_seed))


def detect_split(model: Search, fields: Source) -> tuple[list[FieldAnnotations], list[FieldDetections]]:
    """The annotations and the detections of `model` in every field of a split.

    Of several processes each predicts its share of the fields; all get the whole result.
    """
    mine, pairs = process_share(len(fields)), []
    each = shown(mine, "evaluate", "field", active=is_first())
    for i, detected in zip(each, model.detect_source(fields, mine), strict=True):
        field = fields.field(i)
        pairs.append((annotate(field.name, field.height, field.width, field.cells), detected))
    pairs = gather(pairs)
    return [annotated for annotated, _ in pairs], [detected for _, detected in pairs]


def _scale_range(train: Source, canvas: tuple[int, int]) -> tuple[float, float]:
    """The lowest and highest scale at which a training field fits the canvas: the range of `Predictor.scales`."""
    scales = [fit_scale(*train.size(i), canvas) for i in range(len(train))]
    return min(scales), max(scales)


def _summary(found: Scores, best_score: str) -> dict[str, float]:
    """The scores that a run logs, where they are defined; without any cell the best one is 0."""
    kept = {
        "mask/AP": found["mask"]["AP"],
        "mask/AP50": found["mask"]["AP50"],
        "mask/AP75": found["mask"]["AP75"],
        "box/AP": found["box"]["AP"],
        "box/AP50": found["box"]["AP50"],
        "touching/mask/AP": found["touching"]["mask"]["AP"],
        "paper/mAP": found["paper"]["mAP"],
    }
    return {best_score: 0.0} | {name: value for name, value in kept.items() if not math.isnan(value)}
