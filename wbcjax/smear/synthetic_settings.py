"""What the fields of the synthetic smear look like: its parameters."""

from dataclasses import dataclass
from typing import Literal

from wbcjax.smear.synthetic_kinds import BLASTS
from wbcjax.smear.synthetic_paint import Range

CLASSES = ("L1", "L2", "L3")  # of label 1, 2, 3
OTHER = "other"  # of label 4, where other leukocytes are labelled


@dataclass(frozen=True)
class SyntheticSmear:
    """What the rendered fields look like. A range is drawn from uniformly, once per field. Raises ValueError."""

    height: int = 192  # pixels
    width: int = 256  # pixels
    pixels_per_micron: float = 3.7  # lymphoblasts of 8 to 15 microns become 29 to 57 pixels wide
    cells: tuple[int, int] = (1, 8)  # lymphoblasts in a field that has any; drawn ones that find no room are left out
    empty: float = 0.04  # probability of a field without lymphoblasts
    class_weights: tuple[float, float, float] = (0.4, 0.3, 0.3)  # relative frequency of L1, L2, L3
    subtype: int = 0  # 1, 2, 3: of a patient with L1, L2, L3, who has few lymphoblasts of the others; 0: any mixture
    touching: float = 0.35  # probability that a white cell is put against one that is already there
    min_visible: float = 0.6  # least share of a white cell in view, and of an upper one that lies over no other
    others: tuple[int, int] = (0, 2)  # other leukocytes; left out as above
    # Their kinds: neutrophils, monocytes, eosinophils and smudge cells, or plasma cells and precursors of blood cells
    tissue: Literal["blood", "marrow"] = "blood"
    label_others: bool = False  # give these as cells of class `OTHER`, label 4, instead of as background
    red_cells: Range = (0.1, 0.8)  # area of all red cells over the area of the field
    platelets: tuple[int, int] = (0, 5)  # per field
    debris: tuple[int, int] = (0, 3)  # clusters of stain precipitate, droplets and specks of dust, per field
    stain_variation: float = 0.2  # relative standard deviation of a dye's strength; of its colour, half of that
    saturation: Range = (0.9, 1.4)  # of the camera's colours, 1: as they are
    shading: Range = (0.0, 0.25)  # share of the light lost in the farthest corner
    defocus: Range = (0.3, 1.2)  # standard deviation of the blur, pixels
    noise: Range = (0.5, 3.0)  # standard deviation of the sensor noise, grey levels of 255

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of label 1, 2, ..."""
        return (*CLASSES, OTHER) if self.label_others else CLASSES

    def __post_init__(self) -> None:
        largest = max(form.diameter[1] for form in BLASTS) * self.pixels_per_micron
        checks = [
            ("pixels_per_micron", self.pixels_per_micron >= 1, "at least 1, or no detail of a cell can be seen"),
            ("height", self.height >= largest, f"at least {largest:.0f} pixels, the widest lymphoblast"),
            ("width", self.width >= largest, f"at least {largest:.0f} pixels, the widest lymphoblast"),
            ("class_weights", len(self.class_weights) == len(CLASSES), f"one number for each of {CLASSES}"),
            ("class_weights", min(self.class_weights) >= 0 < sum(self.class_weights), "none below 0, sum above 0"),
            ("subtype", self.subtype in range(len(CLASSES) + 1), f"0, or the number of one of {CLASSES}"),
            ("min_visible", 0 < self.min_visible <= 1, "above 0 and at most 1"),
            ("stain_variation", 0 <= self.stain_variation <= 0.5, "within 0..0.5"),
        ]
        for name in ("empty", "touching"):
            checks.append((name, 0 <= getattr(self, name) <= 1, "a probability, 0..1"))
        for name, limit in (
            ("red_cells", 1.0),
            ("saturation", 2.0),
            ("shading", 0.9),
            ("defocus", 5.0),
            ("noise", 50.0),
        ):
            checks.append((name, _ordered(getattr(self, name), 0, limit), f"(low, high) within 0..{limit:g}"))
        for name, least in (("cells", 1), ("others", 0), ("platelets", 0), ("debris", 0)):
            numbers = getattr(self, name)
            whole = all(isinstance(number, int) for number in numbers)
            checks.append((name, whole and _ordered(numbers, least, 10_000), f"(low, high), whole, {least} or more"))
        wrong = [f"{name} = {getattr(self, name)!r}: expected {rule}" for name, good, rule in checks if not good]
        if wrong:
            raise ValueError("SyntheticSmear: " + "; ".join(wrong))


def _ordered(limits: tuple[float, ...], least: float, most: float) -> bool:
    return len(limits) == 2 and least <= limits[0] <= limits[1] <= most
