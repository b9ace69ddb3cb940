"""The `wbcjax` command."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from wbcjax import runtime
from wbcjax.evaluate.detections import FieldDetections, write_results
from wbcjax.predict import Predictor, load, load_config
from wbcjax.report.contact_sheet import write_png
from wbcjax.report.overlay import draw_detections
from wbcjax.smear.field import read_image

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line given, or the process's own."""
    parser = argparse.ArgumentParser(prog="wbcjax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="find cells in images with a trained model")
    predict.add_argument("workdir", type=Path, help="folder of a training run, such as runs/demo")
    predict.add_argument("images", type=Path, help="an image, or a folder of images")
    predict.add_argument("--out", type=Path, required=True, help="folder for outlined images and predictions.json")
    predict.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    predict.add_argument("--min-score", type=float, help="what to draw; the JSON has all (default: the run's own)")
    predict.set_defaults(run=_predict)
    options = parser.parse_args(arguments)
    runtime.use_compilation_cache()
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"wbcjax: {error}")


def _predict(options: argparse.Namespace) -> None:
    paths = find_images(options.images)
    if options.out.resolve() in {path.parent.resolve() for path in paths}:
        raise ValueError(
            f"--out {options.out} is where the images lie: choose another folder, or drawings replace them"
        )
    model = load(options.workdir, options.checkpoint)
    options.out.mkdir(parents=True, exist_ok=True)
    min_score = (
        load_config(options.workdir).evaluate.score_threshold if options.min_score is None else options.min_score
    )
    found = []
    try:
        for path in tqdm(paths, desc="predict", unit="image"):
            found.append(_predict_one(model, path, options.out, min_score))
    finally:  # what was found up to a broken image is kept
        write_results(options.out / "predictions.json", model.classes, found)
    drawn = sum(int((field.scores >= min_score).sum()) for field in found)
    sys.stdout.write(f"{drawn} cells in {len(found)} images; outlines and predictions.json are in {options.out}\n")


def _predict_one(model: Predictor, path: Path, out: Path, min_score: float) -> FieldDetections:
    image = read_image(path)
    found = model.predict(image, path.name)
    drawn = draw_detections(image, found, model.classes, min_score)
    write_png(out / f"{path.stem}.png", drawn)
    return found


def find_images(place: Path) -> list[Path]:
    """The images at `place`, a file or a folder, by name. Raises FileNotFoundError when there is none."""
    if place.is_file():
        return [place]
    paths = sorted(p for p in place.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES) if place.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"{place}: no image there; give one, or a folder with {', '.join(IMAGE_SUFFIXES)}")
    twice = {p.stem for p in paths if sum(q.stem == p.stem for q in paths) > 1}
    if twice:
        raise ValueError(f"{place}: images that differ in suffix only would be drawn into one file: {sorted(twice)}")
    return paths
