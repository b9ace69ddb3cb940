"""`wbcjax predict`: cells of images."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wbcjax.commands.arguments import (
    add_joining,
    add_max_pixels,
    add_trust,
    add_tta,
    pixel_size,
    scale,
    score,
    trained_model,
)
from wbcjax.commands.messages import count, exit_for_error, exit_for_failed
from wbcjax.system.terminal import Attention, Table, show

if TYPE_CHECKING:
    from wbcjax.commands.predict.folder import Outcome, Searched
    from wbcjax.commands.predict.slides import SlideSettings
    from wbcjax.evaluate.detections import FieldDetections
    from wbcjax.predict.magnification import Magnified
    from wbcjax.predict.search import Search


def add(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser("predict", help="find cells in images with a trained model")
    predict.add_argument(
        "workdir",
        type=trained_model,
        nargs="+",
        help="folder of a training run, such as runs/demo, or an exported model; starter finds white cells before "
        "any training; hf://OWNER/NAME is of the hub; what several find is joined",
    )
    predict.add_argument(
        "images", type=Path, help="an image, a slide, or a folder of either: the last argument without a flag"
    )
    predict.add_argument("--out", type=Path, required=True, help="folder for pictures, cells.csv, VIA and COCO files")
    predict.add_argument(
        "--classifier",
        type=trained_model,
        help="a training run on crops, or its export, to name each cell found by its crop",
    )
    predict.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="of a run (default: best)")
    predict.add_argument(
        "--min-score", type=score, help="of a cell, from 0 to 1; predictions.json has all (default: the run's)"
    )
    predict.add_argument(
        "--scale",
        type=scale,
        help="canvas pixels per image pixel, for images of another magnification (default: as the run was trained, or "
        "by the pixel size of the image over that of the training)",
    )
    predict.add_argument(
        "--pixel-size",
        type=pixel_size,
        help="micrometres per pixel of the images: they are scaled to the training's where the run knows its own, and "
        "sizes are in micrometres too (default: as each file states it, else the run's, unless --scale says that the "
        "magnification is another)",
    )
    predict.add_argument(
        "--slide", action="store_true", help="search images of any size as slides: tile by tile, and gone on with"
    )
    predict.add_argument(
        "--all-tiles", action="store_true", help="of a slide: search the tiles that are empty or blurred too"
    )
    predict.add_argument(
        "--patients", type=Path, metavar="FILE.csv", help="of slides: a table with the columns slide,patient"
    )
    add_tta(predict)
    add_max_pixels(predict, default=None)
    add_trust(predict)
    add_joining(predict)
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from wbcjax.system import heap, processes, runtime

    heap.tune_malloc()
    runtime.use_compilation_cache()
    processes.join(options.coordinator, options.process_id, options.num_processes, distributed=options.distributed)
    with processes.ending_together():
        try:
            _predict_share(options)
        except (OSError, ValueError) as error:
            exit_for_error(error)  # here: of several processes one ends all


def _predict_share(options: argparse.Namespace) -> None:
    """Predict the images of this process, and write the results of all in the first one."""
    from wbcjax.commands.predict.folder import ImageSettings, predict_folder
    from wbcjax.commands.predict.slides import SlideSettings, digest_of, slides_at
    from wbcjax.input.settings import FieldSetSettings
    from wbcjax.predict.classifier import load_classifier
    from wbcjax.predict.detector import load
    from wbcjax.predict.search import ensemble_of
    from wbcjax.runs.folder import load_config
    from wbcjax.slides.patients import read_patients
    from wbcjax.system import processes

    config = load_config(options.workdir[0], options.trust_parts)
    members = [load(place, which=options.checkpoint, trust_parts=options.trust_parts) for place in options.workdir]
    dataset = FieldSetSettings.from_config(config.dataset)
    # Files are not believed where they contradicted the config, nor by older runs, which did not ask them.
    by_files = bool(members[0].pixel_size) or not dataset.pixel_size
    if options.scale is not None:
        for member in members:
            member.scales, member.pixel_size = (options.scale, options.scale), 0.0
    model = ensemble_of(members, options.workdir)
    min_score = model.min_score if options.min_score is None else options.min_score
    max_pixels = options.max_pixels or dataset.max_pixels
    if slides := slides_at(options.images, max_pixels, options.slide):
        looks = model.with_tta() if options.tta else model
        settings = SlideSettings(
            model=digest_of(members, options.tta),
            min_score=min_score,
            pixel_size=options.pixel_size or 0.0,
            by_files=by_files,
            all_tiles=options.all_tiles,
            max_pixels=max_pixels,
            patients=read_patients(options.patients, [slide.name for slide in slides]) if options.patients else None,
        )
        _predict_slides(looks, slides, options, settings)
        return
    if unused := [flag for flag in ("patients", "all_tiles") if getattr(options, flag)]:
        raise ValueError(f"{options.images}: --{unused[0].replace('_', '-')} is for slides; add --slide if it is one")
    plain, classifier = model, None
    if options.classifier:
        classifier = load_classifier(options.classifier, options.checkpoint, options.trust_parts)
    if options.tta:
        model, classifier = model.with_tta(), classifier.with_tta() if classifier else None
    settings = ImageSettings(
        class_attribute=dataset.class_attribute,
        pixel_size=options.pixel_size or 0.0,
        else_pixel_size=0.0 if options.scale is not None else dataset.pixel_size or model.pixel_size,
        by_files=by_files,
        max_pixels=max_pixels,
    )
    outcome = predict_folder(model, options.images, options.out, min_score, settings, classifier)
    if outcome.searched and processes.is_first():
        hint = _magnified(plain, outcome, min_score, settings.max_pixels)
        lines = [_summary(outcome), *_scaled(outcome, model.pixel_size), *([Attention(str(hint))] if hint else [])]
        counts = [_counts("Cells found", [image.cells for image in outcome.searched], model.classes)]
        if classifier:
            named = [image.named for image in outcome.searched if image.named is not None]
            counts.append(_counts("Named by their crops", named, classifier.classes))
        show(lines, *counts, f"{options.out} has pictures, label images, tables and annotations")
    exit_for_failed(outcome.failed)


def _predict_slides(
    model: "Search", slides: Sequence[Path], options: argparse.Namespace, settings: "SlideSettings"
) -> None:
    from wbcjax.commands.predict.slides import predict_slides
    from wbcjax.evaluate.cell_counts import all_labels, counts_table
    from wbcjax.predict.magnification import magnified
    from wbcjax.system import processes

    if options.classifier:
        raise ValueError("--classifier names cells of images; leave it out for slides")
    outcome = predict_slides(model, slides, options.out, settings)
    if outcome.searched and processes.is_first():
        lines = []
        for slide in outcome.searched:
            left = "".join(f", {number} {reason}" for reason, number in slide.left_out.items())
            found = count(len(slide.labels), "cell")
            lines.append(f"{slide.path.name}: {found} at scale {slide.scale:.3g} in {count(slide.tiles, 'tile')}{left}")
        hint = magnified([(slide.boxes, slide.scale) for slide in outcome.searched], model.cell_sides)
        labels = all_labels([slide.labels for slide in outcome.searched])
        counts = counts_table("Cells found", labels, model.classes)
        told = [*lines, *([Attention(str(hint))] if hint else [])]
        show(told, counts, f"{options.out} has a folder for each slide, with its page and tables, and counts.csv")
    exit_for_failed(outcome.failed, "could not be searched whole")


def _magnified(model: "Search", outcome: "Outcome", min_score: float, max_pixels: int) -> "Magnified | None":
    """What cells look like beside those of the training, where that is something else."""
    from wbcjax.predict.magnification import Look, looked_again, magnified
    from wbcjax.predict.search import Picture
    from wbcjax.smear.field import read_image

    sizes = [(image.cells.boxes, image.layout.scale) for image in outcome.searched]
    if hint := magnified(sizes, model.cell_sides):
        return hint

    def again(image: "Searched") -> Look:
        def picture() -> Picture:
            return Picture(image.path.name, read_image(image.path, max_pixels), image.pixel_size)

        return Look(picture, image.found, image.layout.scale, image.pixel_size)

    return looked_again(model, [again(image) for image in outcome.searched], min_score)


def _scaled(outcome: "Outcome", of_training: float) -> list[str]:
    """A line on the images that were scaled by their pixel size, if there are any."""
    sizes = [image.pixel_size for image in outcome.searched if image.pixel_size]
    if not sizes or not of_training:
        return []
    low, high = (f"{size:.3g}" for size in (min(sizes), max(sizes)))
    return [
        f"{count(len(sizes), 'image')} scaled by pixels of {low if low == high else f'{low} to {high}'} micrometres; "
        f"the training's have {of_training:.3g}"
    ]


def _counts(title: str, found: Sequence["FieldDetections"], classes: Sequence[str]) -> Table:
    """The cells of each class of all images."""
    from wbcjax.evaluate.cell_counts import all_labels, counts_table

    return counts_table(title, all_labels([cells.labels for cells in found]), classes)


def _summary(outcome: "Outcome") -> str:
    cells = sum(len(image.cells.rles) for image in outcome.searched)
    tiled = sum(len(image.layout.tiles) > 1 for image in outcome.searched)
    scales = sorted({f"{image.layout.scale:.3g}" for image in outcome.searched}, key=float)
    at = f" at scale {scales[0]}" + (f" to {scales[-1]}" if scales[1:] else "") if scales else ""
    summary = f"{count(cells, 'cell')} in {count(len(outcome.searched), 'image')}{at}"
    if tiled:
        summary += f", {tiled} of them in tiles. Where these show cells larger than in training, give a smaller --scale"
    return summary
