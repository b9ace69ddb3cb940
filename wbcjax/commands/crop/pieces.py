"""The crops of one field with their pixels and classes: of annotated cells, of none, and of what detectors find."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from wbcjax.smear.crops import MISSED, Crop, annotated_crops, cut_crop, other_crops, resize
from wbcjax.smear.field import SmearField

if TYPE_CHECKING:
    from wbcjax.commands.crop.detected import Detected, Detectors


@dataclass(frozen=True)
class CropSettings:
    """How cells are cut out; `crops.json` keeps it. Raises ValueError where a class of negatives is needed."""

    margin: float = 0.1  # of the length of a cell's box, added on either side
    size: int | None = None  # pixels of a crop's side; None leaves it as it is in the field
    mask_background: bool = False  # black outside the cell's outline; a crop without a cell gets another one's outline
    # The name of the class of crops without an annotated cell; None: no such crops. Each field gives at least as many
    # as it has annotated cells, where there is room: see `other_crops`.
    negatives: str | None = None
    balance: bool = False  # of each field not more negatives than that
    seed: int = 0  # of the choice of nuclei and windows; that of a field does not depend on the other fields
    # Detectors whose cells are cut out too; their false alarms are the negatives, in place of nuclei and windows.
    runs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.balance and self.negatives is None:
            raise ValueError("there is nothing to balance the annotated cells with: name the class of --negatives")
        if self.runs and self.negatives is None:
            raise ValueError("a detector's false alarms become crops: name their class by --negatives")


class Piece(NamedTuple):
    """A crop with its pixels."""

    crop: Crop
    pixels: UInt8[np.ndarray, "side side 3"]
    class_name: str
    cell: int | None = None  # the row of the annotated cell that it shows, if any


class FieldPieces(NamedTuple):
    """All crops of a field."""

    pieces: list[Piece]
    short: int = 0  # annotated cells for which there is no negative
    part: str = ""  # that the field was in when the detectors were trained


@dataclass(frozen=True)
class FieldCutter:
    """Cuts the fields of a set.

    cell_size: see `other_crops`. detectors: those of `settings.runs`, if any.
    """

    classes: Sequence[str]
    cell_size: float
    settings: CropSettings
    detectors: "Detectors | None"

    def cut(self, f: SmearField, trusted: bool) -> FieldPieces:
        """The crops of a field; negatives only where it is `trusted` to have all cells annotated."""
        image, annotated = f.image(), annotated_crops(f, self.settings.margin)
        if self.detectors:
            return self._with_detections(f, image, annotated, trusted)
        pieces = self._of_annotated(f, image, annotated)
        if self.settings.negatives is None or not trusted:
            return FieldPieces(pieces)
        rng = np.random.default_rng([self.settings.seed, zlib.crc32(f.name.encode())])
        others = other_crops(f, image, annotated, self.cell_size, rng, self.settings.balance)
        pieces += self._pieces(f, image, others, [self.settings.negatives] * len(others))
        return FieldPieces(pieces, short=max(0, len(annotated) - len(others)))

    def _with_detections(
        self, f: SmearField, image: UInt8[np.ndarray, "h w 3"], annotated: list[Crop], trusted: bool
    ) -> FieldPieces:
        assert self.detectors is not None
        of_runs = self.detectors.crops(f, image, self.classes, self.settings.margin)
        missed = set.intersection(*(detected.missed for detected in of_runs))  # by all of them
        crops = [replace(crop, rule=MISSED) if crop.cell in missed else crop for crop in annotated]
        pieces = self._of_annotated(f, image, crops)
        for detected in of_runs:
            most = len(annotated) if self.settings.balance else len(detected.crops)
            pieces += self._of_detections(f, image, detected, most if trusted else 0)
        return FieldPieces(pieces, part=self.detectors.part(image))

    def _of_annotated(self, f: SmearField, image: UInt8[np.ndarray, "h w 3"], crops: list[Crop]) -> list[Piece]:
        names = [self.classes[f.cells[crop.cell].label - 1] for crop in crops]
        return [piece._replace(cell=piece.crop.cell) for piece in self._pieces(f, image, crops, names)]

    def _of_detections(
        self, f: SmearField, image: UInt8[np.ndarray, "h w 3"], detected: "Detected", most: int
    ) -> list[Piece]:
        """The cells that a detector found, and the surest of its false alarms, `most` at most."""
        negatives = str(self.settings.negatives)
        names = [self.classes[f.cells[cell].label - 1] if cell >= 0 else negatives for cell in detected.cell_of]
        pieces = self._pieces(detected.of, image, detected.crops, names)
        of_cells = [
            piece._replace(cell=cell) for piece, cell in zip(pieces, detected.cell_of, strict=True) if cell >= 0
        ]
        alarms = [piece for piece, cell in zip(pieces, detected.cell_of, strict=True) if cell < 0]
        return of_cells + alarms[:most]

    def _pieces(
        self, f: SmearField, image: UInt8[np.ndarray, "h w 3"], crops: Sequence[Crop], names: Sequence[str]
    ) -> list[Piece]:
        pixels = [cut_crop(f, image, crop, self.settings.mask_background) for crop in crops]
        if self.settings.size is not None:
            pixels = [resize(crop, self.settings.size) for crop in pixels]
        return [Piece(*of) for of in zip(crops, pixels, names, strict=True)]
