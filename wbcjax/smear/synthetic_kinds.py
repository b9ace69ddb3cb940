"""Kinds of white cells in the synthetic smear, and how they differ.

The subtypes of lymphoblasts follow the FAB group (Bennett et al., Br J Haematol 33, 1976, 451; how the features are
weighed: the same group, Br J Haematol 47, 1981, 553): L1 small, scanty cytoplasm, regular nucleus, nucleoli small or
not seen; L2 larger and of uneven size, more cytoplasm, irregular or cleft nucleus, large nucleoli; L3 large and alike,
round nucleus of finely stippled chromatin, deep-blue cytoplasm with many vacuoles. No feature decides by itself, so the
ranges of L1 and L2 overlap. The other leukocytes are those of blood, or the cells of bone marrow, with the sizes that
textbooks give.
"""

from dataclasses import dataclass

from wbcjax.smear.synthetic_paint import Range


@dataclass(frozen=True)
class Morphology:
    """What one kind of white cell looks like. Ranges are drawn from by `between`, numbers uniformly, for each cell."""

    diameter: Range  # of the circle of equal area, microns
    nuclear_share: Range  # area of the nucleus over that of the cell
    irregularity: float  # of the nuclear outline: relative standard deviation of its radius, roughly
    chromatin: float  # purple density of the nucleus
    clumping: float  # relative contrast of the chromatin
    grain: float  # of the chromatin's clumps, microns
    cytoplasm: Range  # azure density
    cleft: Range = (0.0, 0.0)  # depth of the notch in the nucleus over its radius
    cleft_width: float = 0.3  # half of it, radians
    lobes: tuple[int, int] = (1, 1)  # of the nucleus
    nucleoli: tuple[int, int] = (0, 0)  # number
    nucleolus_radius: Range = (0.4, 0.6)  # microns
    halo: Range = (0.0, 0.4)  # share of the azure that the cytoplasm beside the nucleus lacks
    vacuoles: tuple[int, int] = (0, 0)  # number
    granules: tuple[float, float] = (0.0, 0.0)  # eosin and purple density that the granules add to the cytoplasm
    granule_size: float = 0.3  # microns
    offset: Range = (0.2, 0.7)  # of the nucleus from the cell's centre, over what room it has
    roughness: float = 0.045  # irregularity of the cell's own outline
    stretch: Range = (1.0, 1.2)  # ratio of the axes of the cell's own outline


L1 = Morphology(
    diameter=(7.8, 11.4),
    nuclear_share=(0.70, 0.90),
    irregularity=0.025,
    chromatin=0.95,
    clumping=0.17,
    grain=0.55,
    cytoplasm=(0.30, 0.62),
    cleft=(0.0, 0.2),
    nucleoli=(0, 1),
    roughness=0.04,
)
L2 = Morphology(
    diameter=(9.8, 15.4),
    nuclear_share=(0.40, 0.72),
    irregularity=0.08,
    chromatin=0.82,
    clumping=0.22,
    grain=0.5,
    cytoplasm=(0.18, 0.55),
    cleft=(0.0, 0.6),
    nucleoli=(1, 3),
    nucleolus_radius=(0.6, 1.2),
    vacuoles=(0, 1),
    roughness=0.07,
)
L3 = Morphology(
    diameter=(10.5, 13.5),
    nuclear_share=(0.50, 0.68),
    irregularity=0.03,
    chromatin=0.88,
    clumping=0.16,
    grain=0.4,
    cytoplasm=(0.80, 1.25),
    nucleoli=(1, 3),
    nucleolus_radius=(0.5, 0.9),
    halo=(0.0, 0.15),
    vacuoles=(6, 14),
)
NEUTROPHIL = Morphology(
    diameter=(11.0, 14.5),
    nuclear_share=(0.32, 0.48),
    irregularity=0.07,
    chromatin=0.92,
    clumping=0.24,
    grain=0.7,
    cytoplasm=(0.05, 0.14),
    lobes=(2, 5),
    granules=(0.28, 0.05),
    granule_size=0.25,
    roughness=0.05,
)
EOSINOPHIL = Morphology(
    diameter=(12.0, 15.5),
    nuclear_share=(0.26, 0.38),
    irregularity=0.06,
    chromatin=0.90,
    clumping=0.24,
    grain=0.7,
    cytoplasm=(0.08, 0.20),
    lobes=(2, 3),
    granules=(0.75, 0.06),
    granule_size=0.55,
)
MONOCYTE = Morphology(
    diameter=(13.0, 18.0),
    nuclear_share=(0.40, 0.58),
    irregularity=0.09,
    chromatin=0.68,
    clumping=0.28,
    grain=0.6,
    cytoplasm=(0.20, 0.42),
    cleft=(0.1, 0.65),
    cleft_width=0.55,
    vacuoles=(0, 5),
    granules=(0.08, 0.08),
    roughness=0.08,
)
SMUDGE = Morphology(  # burst while the film was spread: a bare nucleus that has lost its structure
    diameter=(9.0, 15.0),
    nuclear_share=(0.85, 0.98),
    irregularity=0.12,
    chromatin=0.45,
    clumping=0.22,
    grain=1.3,
    cytoplasm=(0.05, 0.15),
    cleft=(0.0, 0.4),
    roughness=0.18,
)
PLASMA = Morphology(  # a round nucleus at the edge of ample blue cytoplasm, with a pale zone beside it
    diameter=(11.0, 20.0),
    nuclear_share=(0.20, 0.55),
    irregularity=0.03,
    chromatin=0.92,
    clumping=0.28,
    grain=0.9,
    cytoplasm=(0.08, 0.80),
    nucleoli=(0, 1),
    halo=(0.0, 0.8),
    vacuoles=(0, 2),
    offset=(0.6, 1.1),
    roughness=0.10,
    stretch=(1.0, 1.7),
)
ERYTHROBLAST = Morphology(  # basophilic to orthochromatic: a round dense nucleus, cytoplasm from blue to nearly none
    diameter=(7.5, 12.5),
    nuclear_share=(0.35, 0.80),
    irregularity=0.02,
    chromatin=1.05,
    clumping=0.30,
    grain=0.8,
    cytoplasm=(0.02, 0.60),
    offset=(0.0, 0.8),
)
MYELOCYTE = Morphology(  # promyelocyte to metamyelocyte: granules of two colours, a nucleus that begins to bend
    diameter=(12.0, 20.0),
    nuclear_share=(0.35, 0.60),
    irregularity=0.05,
    chromatin=0.72,
    clumping=0.22,
    grain=0.6,
    cytoplasm=(0.05, 0.30),
    cleft=(0.0, 0.5),
    cleft_width=0.6,
    nucleoli=(0, 2),
    granules=(0.16, 0.16),
    granule_size=0.4,
    offset=(0.3, 1.0),
    roughness=0.06,
)
LYMPHOCYTE = Morphology(
    diameter=(7.0, 10.5),
    nuclear_share=(0.72, 0.95),
    irregularity=0.05,
    chromatin=0.98,
    clumping=0.26,
    grain=0.9,
    cytoplasm=(0.10, 0.45),
    cleft=(0.0, 0.3),
    stretch=(1.0, 1.4),
)
BLASTS = (L1, L2, L3)
# The other leukocytes of each tissue, and their relative frequency.
OTHERS = {
    "blood": ((NEUTROPHIL, MONOCYTE, EOSINOPHIL, SMUDGE), (0.6, 0.2, 0.1, 0.1)),
    "marrow": (
        (PLASMA, ERYTHROBLAST, LYMPHOCYTE, MYELOCYTE, NEUTROPHIL, MONOCYTE),
        (0.4, 0.2, 0.15, 0.15, 0.05, 0.05),
    ),
}
