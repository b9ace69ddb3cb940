"""Find cells with a trained Mask R-CNN: `wbcjax.load("runs/demo").predict(image)`, for an image of any size."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.enhance import AS_THEY_ARE, Enhancement
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.input.cell_sizes import CellSides, noted_sizes
from wbcjax.input.draw import fit
from wbcjax.input.settings import FieldSetSettings
from wbcjax.input.warp import drawn_size, fit_scale
from wbcjax.models import mask_rcnn
from wbcjax.models.fpn import CANVAS_UNIT
from wbcjax.models.limits import LIMITS, FilledLimits
from wbcjax.models.mask_rcnn import Detections, MaskRCNN
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.ops.roi_align import Convention
from wbcjax.predict.devices import CompiledNetwork, OnLocalDevices
from wbcjax.predict.search import Ensemble, Layout, Picture, Search, ShownLarge, ensemble_of
from wbcjax.predict.tiles import CUT_MARGIN, OVERLAP, View, merge, tiles
from wbcjax.predict.views import VIEWS
from wbcjax.runs.calibration import temperatures
from wbcjax.runs.folder import DETECTION, check_kind, load_config, load_facts
from wbcjax.runs.located import located
from wbcjax.runs.packed import variables_of
from wbcjax.runs.stablehlo import ExportedNetwork, load_network
from wbcjax.settings.parts import Trust
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.paste import Library, paste
from wbcjax.system import run_files

CANVASES = 1  # that a device processes at a time: so results do not depend on the other images of a set
PASTED_AS: dict[Convention, Library] = {
    "legacy": "torchvision",
    "aligned": "detectron2",
    "crop_and_resize": "matterport",
}
LARGEST_SIDE = 2**15 - 1  # pixels: OpenCV draws no larger image

# (variables, canvases (n, h, w, 3), uint8, height and width of the image on each (n, 2)) -> the cells found on each:
# `MaskRCNN.predict`
Network = Callable[[Any, Any, Any], Detections]


@dataclass(eq=False)
class Predictor(Search):
    """A Mask R-CNN with its weights; compiled on first use, for its canvas.

    network: a `Network` with its variables.
    classes: names of label 1, 2, ...
    library: the one whose pasting of masks goes with the network's RoIAlign: see `wbcjax.smear.paste`.
    scales: the lowest and highest scale, in canvas pixels per image pixel, of the fields it was trained on. An image
        gets the scale at which it fits the canvas, or the nearest within this range: so cells have sizes as in
        training. An image that is then larger than the canvas is divided into overlapping tiles. None: images are
        fitted to the canvas whatever their size.
    enhance: the enhancement of the images it was trained on.
    limits: those of `wbcjax.models.limits`, by name. Images that fill one are logged.
    min_score: of a cell, where `predict` is not told another.
    max_pixels: of an image file; a larger one is refused before it is decoded.
    pixel_size: of the fields it was trained on, in micrometres; 0: not known. An image whose own is known too gets a
        scale at which its cells have the size that they had in training: `scales` times its pixel size over this one.
    cell_sides: of the cells it was trained on, see `wbcjax.input.cell_sizes.cell_sides`; None: not known.
    temperature, tta_temperature: by which its scores are calibrated, and those of all views joined; 1: they are not.
    at_place: the same network for a place of an image, see `MaskRCNN.predict_at`; None of an exported one.
    """

    network: OnLocalDevices
    canvas: tuple[int, int]
    classes: tuple[str, ...]
    library: Library
    scales: tuple[float, float] | None = None
    enhance: Enhancement = AS_THEY_ARE
    limits: Mapping[str, int] = field(default_factory=dict)
    min_score: float = 0.5
    max_pixels: int = MAX_PIXELS
    pixel_size: float = 0.0
    cell_sides: CellSides | None = None
    temperature: float = 1.0
    tta_temperature: float = 1.0
    at_place: CompiledNetwork | None = None

    def with_variables(self, variables: Any) -> "Predictor":
        """The same with other variables, without compiling again. They leave the devices when it is deleted."""
        return replace(self, network=OnLocalDevices(self.network.compiled, variables))

    def with_tta(self) -> Ensemble:
        return Ensemble((self,), VIEWS, self.tta_temperature)

    def layout(self, height: int, width: int, pixel_size: float = 0.0, zoom: float = 1.0) -> Layout:
        scale = fit_scale(height, width, self.canvas)
        if self.scales is not None:
            times = self._times(pixel_size)
            scale = min(max(scale, times * self.scales[0]), times * self.scales[1])
        scale *= zoom
        drawn_height, drawn_width = drawn_size(height, width, scale)
        if max(drawn_height, drawn_width) > LARGEST_SIDE:
            raise ValueError(
                f"the image is {width} x {height} pixels, at scale {scale:g} {drawn_width} x {drawn_height}: more than "
                f"{LARGEST_SIDE} on a side; give a smaller scale, or cut the image up"
            )
        overlap = math.ceil(OVERLAP * min(self.canvas))
        return Layout(scale, tiles(drawn_height, drawn_width, self.canvas, overlap))

    def shown_large(self, pixel_size: float = 0.0) -> ShownLarge:
        if self.scales is None:
            raise ValueError("the model does not know the scale of its training: give --scale to search a slide")
        return ShownLarge(self._times(pixel_size) * self.scales[0], self.canvas)

    def _times(self, pixel_size: float) -> float:
        """How many times larger an image's pixels are than the training's; 1 where either is not known."""
        return pixel_size / self.pixel_size if pixel_size and self.pixel_size else 1.0

    def find(self, pictures: Iterable[Picture]) -> Generator[FieldDetections, None, None]:
        # Batches of the network may span images.
        pieces = (piece for picture in pictures for piece in self._pieces(picture))
        filled = FilledLimits(self.limits)
        found: list[FieldDetections] = []  # in the pieces of the image under way
        views: list[View] = []
        try:
            for batch, detections in self.network.over(pieces, lambda piece: (piece.drawn, piece.size)):
                for row, piece in enumerate(batch):
                    found.append(self._in_image(detections, row, piece))
                    filled.note(piece.name, _full(detections, row))
                    views.append(piece.view)
                    if piece.last:
                        yield merge(found, views, CUT_MARGIN / piece.scale, nucleus_label(self.classes))
                        found, views = [], []
        finally:  # also where an image fails
            filled.tell()

    def find_at(self, picture: Picture, place: tuple[float, float]) -> FieldDetections:
        """All that the network makes of the proposals around a place (x, y) of an enhanced picture, of any score.

        Raises ValueError for an exported network, which takes no place.
        """
        if self.at_place is None:
            raise ValueError("an exported model cannot be asked for a place: give the folder of its run")
        x, y = place
        pieces = self._pieces(picture)
        piece = max(pieces, key=lambda piece: min(x - piece.view[0], y - piece.view[1], *_left(piece.view, x, y)))
        at = (np.array([x, y], np.float32) - piece.view[:2]) * np.float32(piece.scale)
        network = OnLocalDevices(self.at_place, self.network.variables)
        ((_, found),) = network.over([piece], lambda piece: (piece.drawn, piece.size, at.astype(np.float32)))
        return self.calibrated(self._in_image(found, 0, piece))

    def _pieces(self, picture: Picture) -> Iterator["_Piece"]:
        name, image, pixel_size, zoom = picture
        height, width = image.shape[:2]
        scale, corners = self.layout(height, width, pixel_size, zoom)
        drawn_height, drawn_width = drawn_size(height, width, scale)
        rows, columns = self.canvas
        # The image is scaled once and then cut: tiles have exactly the pixels of the whole scaled image.
        drawn, _ = fit(image, (max(drawn_height, rows), max(drawn_width, columns)), scale)
        for number, (top, left) in enumerate(corners, start=1):
            bottom = (top + rows) / scale if top + rows < drawn_height else height
            right = (left + columns) / scale if left + columns < drawn_width else width
            yield _Piece(
                name=name,
                height=height,
                width=width,
                scale=scale,
                view=(left / scale, top / scale, right, bottom),
                drawn=drawn[top : top + rows, left : left + columns],
                size=np.array([min(drawn_height - top, rows), min(drawn_width - left, columns)], np.float32),
                last=number == len(corners),
            )

    def _in_image(self, found: Detections, row: int, piece: "_Piece") -> FieldDetections:
        """Detections of one piece of a batch, from canvas pixels to the image's own."""
        real = np.asarray(found.valid[row])
        labels, scores, masks = (np.asarray(of[row])[real] for of in (found.labels, found.scores, found.masks))
        x1, y1, x2, y2 = piece.view
        boxes = np.asarray(found.boxes[row])[real] / np.float32(piece.scale) + np.array([x1, y1, x1, y1], np.float32)
        boxes = np.minimum(boxes, np.array([x2, y2, x2, y2], np.float32))
        said = {name: np.asarray(values[row], np.float32)[real] for name, values in (found.said or {}).items()}
        return FieldDetections(
            name=piece.name,
            height=piece.height,
            width=piece.width,
            boxes=boxes,
            labels=labels,
            scores=scores,
            rles=paste(masks, boxes, piece.height, piece.width, self.library),
            said=_columns(said),
        )


def _left(view: View, x: float, y: float) -> tuple[float, float]:
    """How far a place is from the right and the lower edge of a tile."""
    return view[2] - x, view[3] - y


def _columns(said: Mapping[str, Float[np.ndarray, "d ..."]]) -> dict[str, Float[np.ndarray, " d"]]:
    """Outputs of further heads for each cell, by column of cells.csv: NAME, or NAME_1, NAME_2, ... of several"""
    columns = {}
    for name, values in said.items():
        numbered = {f"{name}_{number}": column for number, column in enumerate(values.T, start=1)}
        columns |= {name: values} if values.ndim == 1 else numbered
    return columns


def _full(found: Detections, row: int) -> list[str]:
    """The limits that one piece of a batch fills."""
    if found.full is None:
        return ["detection.per_image"] if np.all(found.valid[row]) else []
    return [name for name, full in zip(LIMITS, np.asarray(found.full[row]), strict=True) if full]


class _Piece(NamedTuple):
    """One canvas for the network: an image, or a tile of one."""

    name: str
    height: int  # of the whole image, pixels
    width: int
    scale: float  # canvas pixels per image pixel
    view: View
    drawn: UInt8[np.ndarray, "ch cw 3"]
    size: np.ndarray  # height and width of what is drawn, whole canvas pixels
    last: bool  # of its image


@overload
def load(place: str | Path, /, *, which: str = "best", trust_parts: Trust = False) -> Predictor: ...
@overload
def load(
    place: str | Path, another: str | Path, /, *more: str | Path, which: str = "best", trust_parts: Trust = False
) -> Ensemble: ...
def load(*places: str | Path, which: str = "best", trust_parts: Trust = False) -> Predictor | Ensemble:
    """The model of a training run, with its best or latest weights, or of an exported file; several as an `Ensemble`.

    trust_parts: whether to run code from outside of wbcjax that the run's config names.

    Raises FileNotFoundError when a place holds no run and is no file, ValueError for a run or file of another kind and
    for runs of different classes, Untrusted as `load_config`.
    """
    if not places:
        raise TypeError("load needs the folder of a run, or several")
    return ensemble_of([_load(place, which, trust_parts) for place in places], places)


def _load(name: str | Path, which: str, trust_parts: Trust) -> Predictor:
    place = located(name)
    config = load_config(place, trust_parts)
    check_kind(config, DETECTION, place)
    model = from_dict(MaskRCNNSettings, config.model.to_dict())
    dataset = FieldSetSettings.from_config(config.dataset)
    facts = load_facts(place)
    scales = _scales(facts, place)
    if place.is_file():
        exported, weights = load_network(place)
        found, step = predictor(model, dataset, weights, scales, partial(_find_exported, exported)), None
    else:
        variables, step = variables_of(place, which)
        found = predictor(model, dataset, variables, scales)
    pixel_size, sides = noted_sizes(facts, place)
    plain, tta = temperatures(place, step)
    return replace(
        found,
        min_score=config.evaluate.score_threshold,
        max_pixels=dataset.max_pixels,
        pixel_size=pixel_size,
        cell_sides=sides,
        temperature=plain,
        tta_temperature=tta,
    )


def predictor(
    model: MaskRCNNSettings,
    dataset: FieldSetSettings,
    variables: Any = None,
    scales: tuple[float, float] | None = None,
    network: Network | None = None,
) -> Predictor:
    """A Predictor of the Mask R-CNN of these settings, which is trained on such fields.

    network: that of an exported model, in place of one of our modules. Raises ValueError for a wrong canvas.
    """
    canvas, classes = dataset.canvas, dataset.classes
    if any(side % CANVAS_UNIT for side in canvas):
        raise ValueError(
            f"config.dataset.canvas is {canvas}; give (height, width) in multiples of {CANVAS_UNIT} pixels"
        )
    return Predictor(
        network=OnLocalDevices(CompiledNetwork(network or live_network(model, classes), CANVASES), variables),
        canvas=canvas,
        classes=classes,
        library=PASTED_AS[model.roi.convention],
        scales=scales,
        enhance=dataset.enhancement,
        limits={name: model.limits[name] for name in LIMITS},
        at_place=None if network else CompiledNetwork(_at_place(model, classes), CANVASES),
    )


def live_network(model: MaskRCNNSettings, classes: Sequence[str], cpu: bool | None = None) -> Network:
    """The Mask R-CNN of these settings, as a function of its trained variables.

    cpu: as in `mask_rcnn.build`.
    """
    return partial(_find_live, mask_rcnn.build(model, len(classes) + 1, cpu))


def _at_place(model: MaskRCNNSettings, classes: Sequence[str]) -> Callable[..., Detections]:
    """`MaskRCNN.predict_at` of these settings, whose detections may have any score."""
    of_any_score = replace(model, detection=replace(model.detection, score_threshold=0.0))
    return partial(_find_live_at, mask_rcnn.build(of_any_score, len(classes) + 1))


# Module-level functions can be pickled, unlike closures; so a Predictor can be too.
def _find_live(model: MaskRCNN, variables: Any, image: jax.Array, size: jax.Array) -> Detections:
    return model.apply(variables, image, size, method="predict")  # type: ignore[return-value]


def _find_live_at(model: MaskRCNN, variables: Any, image: jax.Array, size: jax.Array, place: jax.Array) -> Detections:
    return model.apply(variables, image, size, place, method="predict_at")  # type: ignore[return-value]


def _find_exported(exported: ExportedNetwork, weights: Any, image: jax.Array, size: jax.Array) -> Detections:
    return Detections(**exported(weights, image, size))


def _scales(facts: dict[str, Any], place: str | Path) -> tuple[float, float] | None:
    """The range of scales of a run's training; None for a run that has not noted it."""
    if not facts:
        return None
    try:
        low, high = facts["scale"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{place}/{run_files.DATA}: no range of scales ({error!r}); restore the file, or delete it to do without"
        ) from error
    return low, high
