"""The other leukocytes of the synthetic smear: exact masks, labelled only when asked for, each kind as it looks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.smear.smears import CLEAN, masks
from wbcjax.smear.synthetic import CLASSES, SyntheticSmear, fields, render
from wbcjax.smear.synthetic_cells import COVER, OPACITY, Leukocyte, draw_leukocyte
from wbcjax.smear.synthetic_kinds import (
    BLASTS,
    EOSINOPHIL,
    ERYTHROBLAST,
    MONOCYTE,
    NEUTROPHIL,
    OTHERS,
    PLASMA,
    SMUDGE,
    Morphology,
)
from wbcjax.smear.synthetic_paint import AZURE, EOSIN, PURPLE, outline
from wbcjax.smear.synthetic_settings import OTHER

SMEAR = SyntheticSmear(others=(1, 3), label_others=True)
LABEL = 1 + SMEAR.classes.index(OTHER)
SCALE = 11.0  # samples to the micron


def drawn(form: Morphology, seed: int, radius: float = 6.5) -> tuple[np.ndarray, np.ndarray]:
    """One cell alone: the densities (H, W, dye) and where it is, (H, W)."""
    rng = np.random.default_rng(seed)
    layer = np.zeros((220, 220, COVER + 1), np.float32)
    edge = outline(rng, radius, 1.05, form.roughness)
    draw_leukocyte(layer, Leukocyte(LABEL, form, edge, np.array([10.0, 10.0]), radius), SCALE, rng)
    return layer, layer[..., COVER] > 0


def nucleus(layer: np.ndarray) -> np.ndarray:
    filled = cv2.morphologyEx((layer[..., PURPLE] > 0.25).astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    return cv2.morphologyEx(filled, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))


KINDS = {"neutrophil": NEUTROPHIL, "monocyte": MONOCYTE, "smudge": SMUDGE}
SAMPLES = {name: [drawn(form, seed) for seed in range(8)] for name, form in KINDS.items()}


def test_labelling_the_others_changes_no_pixel_and_no_lymphoblast():
    for seed in range(12):
        silent, told = (render(replace(SMEAR, label_others=label), seed) for label in (False, True))
        assert np.array_equal(silent.image(), told.image())
        blasts = [cell for cell in told.cells if cell.label <= len(CLASSES)]
        assert [(c.label, c.rle) for c in silent.cells] == [(c.label, c.rle) for c in blasts]
        assert {cell.label for cell in told.cells} <= {1, 2, 3, LABEL}


def test_the_classes_name_every_label():
    assert SMEAR.classes == ("L1", "L2", "L3", "other")
    assert replace(SMEAR, label_others=False).classes == CLASSES


def test_as_many_others_as_asked_for_are_drawn():
    wide = replace(SMEAR, height=256, width=384, cells=(1, 2), touching=0.0)
    counts = [sum(c.label == LABEL for c in field.cells) for field in fields(wide, 30, seed=0)]
    assert set(counts) == {1, 2, 3}
    assert not any(c.label == LABEL for field in fields(replace(wide, others=(0, 0)), 10, seed=0) for c in field.cells)


def test_a_field_without_lymphoblasts_may_hold_others():
    field = render(replace(SMEAR, empty=1.0), 3)
    assert [cell.label for cell in field.cells] == [LABEL] * len(field.cells)
    assert field.cells
    assert render(replace(SMEAR, empty=1.0, label_others=False), 3).cells == ()


def test_others_own_the_pixels_they_cover_also_when_they_are_background():
    crowded = replace(SMEAR, cells=(6, 8), others=(3, 3), touching=1.0)
    hidden = 0
    for seed in range(10):
        field = render(crowded, seed)
        found = masks(field)
        assert found.sum(0).max() == 1
        alone = render(replace(crowded, others=(0, 0)), seed)
        hidden += int(masks(alone).sum()) - int(found[[c.label <= 3 for c in field.cells]].sum())
    assert hidden > 500  # pixels that an upper neutrophil, say, takes from the mask of a lymphoblast


def test_masks_of_others_cover_the_stained_pixels_and_nothing_else():
    clean = replace(CLEAN, others=SMEAR.others, label_others=True, empty=1.0)
    for field in fields(clean, 20, seed=70):
        inside = masks(field).any(0)
        darkness = 255.0 - field.image().min(-1)
        ground = np.median(darkness[~inside])
        edge = cv2.morphologyEx(np.asarray(inside, np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        assert not (darkness > ground + 20)[~inside & ~edge].any()
        assert (darkness > ground + 10)[inside & ~edge].mean() > 0.97


@pytest.mark.parametrize("form", [*BLASTS, *OTHERS["blood"][0], *OTHERS["marrow"][0]])
def test_a_cell_stains_exactly_what_it_covers(form):
    for seed in range(4):
        layer, cell = drawn(form, seed)
        assert np.allclose(np.unique(layer[..., COVER]), [0, OPACITY])
        assert np.sqrt(cell.sum() / np.pi) / SCALE == pytest.approx(6.5, rel=0.02)
        assert not layer[~cell].any()
        assert (layer[cell] >= 0).all()
        assert (layer[cell][:, :COVER].sum(-1) > 0.01).all()


def test_neutrophils_have_segmented_nuclei_and_monocytes_one_of_a_piece():
    def solidity(form: Morphology, seed: int) -> float:
        contours, _ = cv2.findContours(nucleus(drawn(form, seed)[0]), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = np.concatenate(contours)
        return sum(cv2.contourArea(c) for c in contours) / cv2.contourArea(cv2.convexHull(points))

    mean = {name: np.mean([solidity(form, seed) for seed in range(12)]) for name, form in KINDS.items()}
    assert mean["neutrophil"] < 0.85
    assert mean["monocyte"] > mean["neutrophil"] + 0.06


def test_eosinophils_are_full_of_eosin_and_smudge_cells_all_nucleus():
    def amount(form: Morphology, dye: int) -> float:
        return float(np.mean([layer[cell][:, dye].mean() for layer, cell in (drawn(form, s) for s in range(8))]))

    assert amount(EOSINOPHIL, EOSIN) > 2 * amount(NEUTROPHIL, EOSIN) > 0
    assert amount(MONOCYTE, AZURE) > 1.5 * amount(NEUTROPHIL, AZURE)
    share = {name: np.mean([nucleus(layer)[cell].mean() for layer, cell in SAMPLES[name]]) for name in KINDS}
    assert share["smudge"] > 0.7 > 0.65 > share["monocyte"] > share["neutrophil"]


def test_nuclei_of_plasma_cells_lie_at_the_edge_of_blue_cytoplasm():
    def eccentricity(form: Morphology, seed: int) -> float:
        """The distance of the nucleus's centre from the cell's, microns."""
        layer, cell = drawn(form, seed)
        middle = [np.mean(np.nonzero(mask), axis=1) for mask in (nucleus(layer), cell)]
        return float(np.linalg.norm(middle[0] - middle[1])) / SCALE

    def share(form: Morphology) -> float:
        return float(np.mean([nucleus(layer)[cell].mean() for layer, cell in (drawn(form, s) for s in range(8))]))

    away = {form: np.mean([eccentricity(form, seed) for seed in range(12)]) for form in (PLASMA, ERYTHROBLAST)}
    assert away[PLASMA] > 1.5
    assert away[PLASMA] > 2 * away[ERYTHROBLAST]
    assert share(PLASMA) < 0.5
    red = {
        form: np.mean([layer[cell][:, AZURE].mean() for layer, cell in (drawn(form, s) for s in range(8))])
        for form in (PLASMA, NEUTROPHIL)
    }
    assert red[PLASMA] > 2 * red[NEUTROPHIL]


def test_marrow_holds_other_kinds_than_blood_and_the_same_lymphoblasts():
    blood, marrow = (
        render(SyntheticSmear(others=(4, 6), label_others=True, tissue=tissue), 5) for tissue in ("blood", "marrow")
    )
    blasts = [[c.rle for c in field.cells if c.label < LABEL] for field in (blood, marrow)]
    assert len(blasts[0]) == len(blasts[1])
    others = [[c.rle for c in field.cells if c.label == LABEL] for field in (blood, marrow)]
    assert others[0]
    assert others[1]
    assert others[0] != others[1]


def test_chromatin_is_clumped_coarsely_in_neutrophils_and_finely_in_l3():
    def contrast(form: Morphology, blur: float) -> float:
        """Relative deviation of the purple density within nuclei, of what a blur in microns leaves of it."""
        values = []
        for seed in range(8):
            layer, _ = drawn(form, seed)
            inner = cv2.erode(nucleus(layer), np.ones((15, 15), np.uint8)) > 0
            purple = cv2.GaussianBlur(layer[..., PURPLE], (0, 0), blur * SCALE) if blur else layer[..., PURPLE]
            values.append(purple[inner].std() / purple[inner].mean())
        return float(np.mean(values))

    plain = replace(BLASTS[2], nucleoli=(0, 0), vacuoles=(0, 0))
    assert 0.05 < contrast(plain, 0.0) < contrast(NEUTROPHIL, 0.0) < 0.5
    assert contrast(plain, 0.3) / contrast(plain, 0.0) < contrast(NEUTROPHIL, 0.3) / contrast(NEUTROPHIL, 0.0)
