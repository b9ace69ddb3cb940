"""One image under every enhancement, with the histograms, as in Fig. 7 of Revanda et al."""

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from wbcjax.enhance import DRAWN, METHODS, Enhancement, Stain
from wbcjax.enhance.pixels import split
from wbcjax.report.contact_sheet import GAP, INK, MARGIN, PAPER, TEXT
from wbcjax.report.draw import text_size, write
from wbcjax.smear.colours import Colour

COLUMNS = 3  # panels side by side
PANEL_WIDTH = 480  # pixels, and the most that a picture is high
HISTOGRAM_HEIGHT = 96  # pixels
CHANNEL_COLOURS: tuple[Colour, ...] = ((200, 40, 40), (30, 140, 50), (40, 70, 200))  # red, green, blue, for paper


def comparison_sheet(
    image: Shaped[np.ndarray, "*image"], max_value: float | None = None, stain: Stain = DRAWN
) -> UInt8[np.ndarray, "_ _ 3"]:
    """An RGB picture of the image as it is and under each of the methods, every panel above its colours' histograms.

    EFF is shown in both its normalisations: with its authors' own, bright images stay as they are. Histograms show the
    square roots of their counts, scaled to the highest, so that few dark pixels show beside a bright ground.

    `stain` is what the normalisations of stain bring it to. `image` and `max_value` are what the methods take
    (`wbcjax.enhance.pixels.split`), which raise ValueError.
    """
    white = split(image, max_value).white
    results = {name: Enhancement(name, stain)(image, max_value=max_value) for name in METHODS}
    shown = {name: _shown(result, white) for name, result in results.items()}
    panels = [_panel(name, picture, shown["none"]) for name, picture in shown.items()]
    height, width = panels[0].shape[:2]
    rows = -(-len(panels) // COLUMNS)
    sheet = _paper(rows * (height + MARGIN) + MARGIN, COLUMNS * (width + MARGIN) + MARGIN)
    for i, panel in enumerate(panels):
        row, column = divmod(i, COLUMNS)
        top, left = MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
        sheet[top : top + height, left : left + width] = panel
    return sheet


def _shown(image: np.ndarray, white: float) -> UInt8[np.ndarray, "h w 3"]:
    """The image's colours as 8-bit RGB."""
    colour = split(image, white).colour
    eight_bit = np.rint(colour * (255 / white)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(eight_bit, (*eight_bit.shape[:2], 3)))


def _panel(name: str, picture: UInt8[np.ndarray, "h w 3"], original: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """A caption, the picture, and its histograms."""
    caption = _paper(text_size("Xg", TEXT)[1] + 8, PANEL_WIDTH)
    write(caption, f"{name}: {_difference(picture, original)}" if name != "none" else "as it is", 0, 4, TEXT, INK)
    zoom = PANEL_WIDTH / max(picture.shape[:2])
    width, height = (max(1, round(side * zoom)) for side in (picture.shape[1], picture.shape[0]))
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    shown = _paper(height + GAP, PANEL_WIDTH)
    shown[:height, :width] = scaled
    return np.concatenate([caption, shown, _histograms(picture)])


def _difference(picture: UInt8[np.ndarray, "h w 3"], original: UInt8[np.ndarray, "h w 3"]) -> str:
    change = np.abs(picture.astype(np.int16) - original)
    if not change.any():
        return "unchanged"
    share, levels = 100 * change.any(axis=2).mean(), change.mean()
    return f"{share:.0f} % of the pixels changed, by {levels:.1f} grey levels on average"


def _histograms(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """One line a colour, black on the left and white on the right; on grey pictures the three are one."""
    drawn = _paper(HISTOGRAM_HEIGHT, PANEL_WIDTH)
    counts = np.sqrt([np.bincount(picture[..., c].reshape(-1), minlength=256) for c in range(3)])
    x = np.linspace(0, PANEL_WIDTH - 1, 256)
    for heights, colour in zip(counts / counts.max(), CHANNEL_COLOURS, strict=True):
        line = np.stack([x, (HISTOGRAM_HEIGHT - 2) * (1 - heights)], axis=1)
        cv2.polylines(drawn, [np.rint(line).astype(np.int32)], False, colour, 1, cv2.LINE_AA)
    cv2.line(drawn, (0, HISTOGRAM_HEIGHT - 1), (PANEL_WIDTH - 1, HISTOGRAM_HEIGHT - 1), INK, 1)
    return drawn


def _paper(height: int, width: int) -> UInt8[np.ndarray, "_ _ 3"]:
    return np.full((height, width, 3), PAPER, np.uint8)
