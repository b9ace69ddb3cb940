"""Find cells with a trained Mask R-CNN: `wbcjax.load("runs/demo").predict(image)`, for an image of any size."""

import contextlib
import errno
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grain
import jax
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.enhance import AS_THEY_ARE, Enhancement
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.nuclei_of_cells import nucleus_label
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.input.cell_sizes import CellSides, noted_sizes
from wbcjax.input.draw import fit
from wbcjax.input.field_set import Source
from wbcjax.input.settings import FieldSetSettings, InputSettings
from wbcjax.input.warp import drawn_size, fit_scale
from wbcjax.models import mask_rcnn
from wbcjax.models.fpn import CANVAS_UNIT
from wbcjax.models.limits import LIMITS, FilledLimits
from wbcjax.models.mask_rcnn import Detections, MaskRCNN
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.ops.roi_align import Convention
from wbcjax.predict.devices import CompiledNetwork, OnLocalDevices
from wbcjax.predict.found_cells import FoundCells
from wbcjax.predict.tiles import View, merge, tiles
from wbcjax.runs.folder import DETECTION, check_kind, load_config, load_facts
from wbcjax.runs.stablehlo import ExportedNetwork, load_network
from wbcjax.settings.parts import Trust
from wbcjax.smear.field import as_rgb, read_image
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.paste import Library, paste
from wbcjax.smear.pixel_size import stated_pixel_size
from wbcjax.system import run_files
from wbcjax.train.checkpoint import load_variables

AHEAD = 2  # images of a folder that are read and enhanced before they are needed
CANVASES = 1  # that a device processes at a time: so results do not depend on the other images of a set
OVERLAP = 0.25  # of neighbouring tiles, at least, relative to the canvas's shorter side
CUT_MARGIN = 4.0  # canvas pixels: a box that ends this near to a tile's edge may be of a cell that continues beyond it
PASTED_AS: dict[Convention, Library] = {
    "legacy": "torchvision",
    "aligned": "detectron2",
    "crop_and_resize": "matterport",
}
LARGEST_SIDE = 2**15 - 1  # pixels: OpenCV draws no larger image

Item = TypeVar("Item")

# (variables, canvases (n, h, w, 3), uint8, height and width of the image on each (n, 2)) -> the cells found on each:
# `MaskRCNN.predict`
Network = Callable[[Any, Any, Any], Detections]


class Picture(NamedTuple):
    """An image to search. A pair of name and image will do in its place."""

    name: str
    image: UInt8[np.ndarray, "_ _ 3"]  # RGB
    pixel_size: float = 0.0  # micrometres; 0: not known, and taken to be the training's


class Layout(NamedTuple):
    """How an image is laid out for the network."""

    scale: float  # canvas pixels per image pixel
    tiles: list[tuple[int, int]]  # top and left of each tile on the scaled image; one where the image fits the canvas


@dataclass(eq=False)
class Predictor:
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

    def with_variables(self, variables: Any) -> "Predictor":
        """The same with other variables, without compiling again. They leave the devices when it is deleted."""
        return replace(self, network=OnLocalDevices(self.network.compiled, variables))

    def predict(
        self,
        image: UInt8[np.ndarray, "h w 3"] | str | Path,
        *,
        min_score: float | None = None,
        name: str = "",
        pixel_size: float = 0.0,
    ) -> FoundCells:
        """The cells of an RGB image, or of an image file of any kind, each once; `FoundCells` has what is made of them.

        min_score: of a cell, 0 to 1; by default the run's. name: by default the file's, or "image". pixel_size: in
        micrometres; by default as the file states it, if it does: see the class.

        Raises ValueError for any other array or file, or score; OSError for a file that cannot be read.
        """
        least = self.min_score if min_score is None else min_score
        if not 0 <= least <= 1:
            raise ValueError(f"min_score is {min_score}: give a number from 0 to 1")
        if isinstance(image, str | Path):
            path = Path(image)
            image, name = _read(path, self.max_pixels), name or path.name
            pixel_size = pixel_size or stated_pixel_size(path)
        found = self.detect(image, name or "image", pixel_size)
        return FoundCells(image, self.classes, least, reported_cells(found, least, self.classes), found)

    def detect(
        self, image: UInt8[np.ndarray, "h w 3"], name: str = "image", pixel_size: float = 0.0
    ) -> FieldDetections:
        """All detections in an RGB image, of any score, with boxes and masks in its own pixels; `predict` gives cells.

        Raises ValueError for anything else.
        """
        (found,) = self._find([self._as_trained_on((name, image, pixel_size))])
        return found

    def detect_each(
        self,
        images: Iterable[Picture | tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
    ) -> Generator[FieldDetections, None, None]:
        """All detections in each of many RGB images, given as `Picture` has them; in their order.

        Images are taken from `images`, and enhanced, ahead in a thread. The devices process one image while the caller
        works on the detections of the one before. Raises ValueError, naming it, for an image of another format.
        """
        with contextlib.closing(ahead(map(self._as_trained_on, images))) as enhanced:
            yield from self._find(enhanced)

    def detect_source(self, source: Source, numbers: Sequence[int] | None = None) -> Iterator[FieldDetections]:
        """All detections in the fields of a built set with these numbers, by default in all; in their order.

        The set's images were enhanced when it was built.
        """
        chosen = grain.MapDataset.source(range(len(source)) if numbers is None else numbers)
        fields = iter(chosen.map(source.field).to_iter_dataset(InputSettings().read_options()))
        with contextlib.closing(fields):
            yield from self._find(Picture(field.name, field.image()) for field in fields)

    def layout(self, height: int, width: int, pixel_size: float = 0.0) -> Layout:
        """The layout of an image of this size. Raises ValueError when it is too large at its scale."""
        scale = fit_scale(height, width, self.canvas)
        if self.scales is not None:
            times = pixel_size / self.pixel_size if pixel_size and self.pixel_size else 1.0
            scale = min(max(scale, times * self.scales[0]), times * self.scales[1])
        drawn_height, drawn_width = drawn_size(height, width, scale)
        if max(drawn_height, drawn_width) > LARGEST_SIDE:
            raise ValueError(
                f"the image is {width} x {height} pixels, at scale {scale:g} {drawn_width} x {drawn_height}: more than "
                f"{LARGEST_SIDE} on a side; give a smaller scale, or cut the image up"
            )
        overlap = math.ceil(OVERLAP * min(self.canvas))
        return Layout(scale, tiles(drawn_height, drawn_width, self.canvas, overlap))

    def _as_trained_on(self, named: tuple) -> Picture:
        """A picture, enhanced as those of the training were."""
        if not (isinstance(named, tuple) and len(named) in (2, 3)):
            raise ValueError(f"detect_each needs pairs of a name and an image, got {type(named).__name__}")
        picture = Picture(*named)
        return picture._replace(image=self.enhance(as_rgb(picture.image, picture.name)))

    def _find(self, pictures: Iterable[Picture]) -> Iterator[FieldDetections]:
        """Cells of each image; batches of the network may span images."""
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

    def _pieces(self, picture: Picture) -> Iterator["_Piece"]:
        name, image, pixel_size = picture
        height, width = image.shape[:2]
        scale, corners = self.layout(height, width, pixel_size)
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


def _read(path: Path, max_pixels: int) -> UInt8[np.ndarray, "h w 3"]:
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "it is a folder: give one image of it at a time, or the folder to `wbcjax predict`", str(path)
        )
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such image: correct the path", str(path))
    return read_image(path, max_pixels)


def ahead(items: Iterable[Item], most: int = AHEAD) -> Generator[Item, None, None]:
    """The items, in their order, made in a thread, at most `most` of them ahead."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[Any]] = deque(thread.submit(next, iterator, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield item


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


def load(place: str | Path, which: str = "best", trust_parts: Trust = False) -> Predictor:
    """The model of a training run, with its best or latest weights, or of an exported file.

    trust_parts: whether to run code from outside of wbcjax that the run's config names.

    Raises FileNotFoundError when `place` holds no run and is no file, ValueError for a run or file of another kind,
    Untrusted as `load_config`.
    """
    config = load_config(place, trust_parts)
    check_kind(config, DETECTION, place)
    model = from_dict(MaskRCNNSettings, config.model.to_dict())
    dataset = FieldSetSettings.from_config(config.dataset)
    facts = load_facts(place)
    scales = _scales(facts, place)
    if Path(place).is_file():
        exported, weights = load_network(Path(place))
        found = predictor(model, dataset, weights, scales, partial(_find_exported, exported))
    else:
        variables, _ = load_variables(Path(place), which)
        found = predictor(model, dataset, variables, scales)
    pixel_size, sides = noted_sizes(facts, place)
    return replace(
        found,
        min_score=config.evaluate.score_threshold,
        max_pixels=dataset.max_pixels,
        pixel_size=pixel_size,
        cell_sides=sides,
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
    )


def live_network(model: MaskRCNNSettings, classes: Sequence[str], cpu: bool | None = None) -> Network:
    """The Mask R-CNN of these settings, as a function of its trained variables.

    cpu: as in `mask_rcnn.build`.
    """
    return partial(_find_live, mask_rcnn.build(model, len(classes) + 1, cpu))


# Module-level functions can be pickled, unlike closures; so a Predictor can be too.
def _find_live(model: MaskRCNN, variables: Any, image: jax.Array, size: jax.Array) -> Detections:
    return model.apply(variables, image, size, method="predict")  # type: ignore[return-value]


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
