"""Several looks at one field joined: scores, boxes and masks against NumPy, and what must not be joined."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.evaluate.make import HEIGHT, WIDTH, detected
from tests.predict.stubs import Painted, rle
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.join import join
from wbcjax.predict.search import Ensemble, ensemble_of
from wbcjax.predict.views import VIEWS

CELL = (10, 10, 30, 30)
NONE = detected([])


def cells_of(found: FieldDetections) -> list[tuple[list[float], int, float]]:
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return [([round(side, 4) for side in box], label, round(score, 5)) for box, label, score in rows]


def mask_of(found: FieldDetections, row: int = 0) -> np.ndarray:
    rle: Any = found.rles[row]
    return coco_mask.decode(rle | {"counts": rle["counts"].encode()})


def test_a_score_is_the_mean_over_all_looks_also_those_that_found_nothing():
    looks = [detected([(CELL, 1, score)]) for score in (0.9, 0.6)]
    assert cells_of(join(looks)) == [(list(CELL), 1, 0.75)]
    assert cells_of(join([*looks, NONE])) == [(list(CELL), 1, 0.5)]
    assert cells_of(join([detected([(CELL, 1, 0.8)]), *9 * [NONE]])) == [(list(CELL), 1, 0.08)]


def test_a_cell_that_most_looks_find_comes_before_one_that_a_single_look_is_surer_of():
    made_up = (40, 5, 55, 20)
    looks = [detected([(CELL, 1, 0.7), (made_up, 1, 0.99)]), detected([(CELL, 1, 0.7)]), detected([(CELL, 1, 0.7)])]
    assert cells_of(join(looks)) == [(list(CELL), 1, 0.7), (list(made_up), 1, 0.33)]


def test_boxes_and_what_heads_say_are_means_by_score():
    looks = [detected([((10, 10, 30, 30), 1, 0.6)]), detected([((12, 10, 34, 30), 1, 0.2)])]
    looks = [replace(look, said={"roundness": np.array([i], np.float32)}) for i, look in enumerate(looks)]
    found = join(looks)
    np.testing.assert_allclose(found.boxes, [[10.5, 10, 31, 30]])
    np.testing.assert_allclose(found.said["roundness"], [0.25])


def test_a_pixel_is_the_cells_where_more_than_half_of_the_weight_says_so():
    looks = [detected([(box, 1, 0.5)]) for box in ((10, 10, 30, 30), (10, 10, 28, 30), (10, 10, 26, 30))]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[10:30, 10:28] = 1
    np.testing.assert_array_equal(mask_of(join(looks)), expected)
    surer = [
        replace(look, scores=np.array([score], np.float32)) for look, score in zip(looks, (0.9, 0.4, 0.4), strict=True)
    ]
    assert mask_of(join(surer)).sum() == 20 * 20, "the first has more weight than the others together"


def test_of_two_looks_as_sure_the_first_ones_outline_is_kept():
    looks = [detected([(box, 1, 0.5)]) for box in ((10, 10, 30, 30), (14, 10, 34, 30))]
    assert join(looks).rles == looks[0].rles
    assert join(looks[::-1]).rles == looks[1].rles


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_mask_is_the_weighted_median_of_the_masks(scores, seed):
    rng = np.random.default_rng(seed)
    core = np.zeros((HEIGHT, WIDTH), bool)
    core[10:30, 15:40] = True
    masks = [core & (rng.random(core.shape) < 0.98) | (rng.random(core.shape) < 0.01) for _ in scores]
    base = detected([((0, 0, WIDTH, HEIGHT), 1, 1.0)])
    looks = [
        replace(base, scores=np.array([score / 100], np.float32), rles=[rle(mask)])
        for score, mask in zip(scores, masks, strict=True)
    ]
    found = join(looks)
    assert len(found.rles) == 1
    weights = np.array([look.scores[0] for look in looks], np.float64)
    share = np.tensordot(weights, np.array(masks, float), 1) / weights.sum()
    surest = masks[int(np.argmax(weights))]
    np.testing.assert_array_equal(mask_of(found), np.where(abs(share - 0.5) < 1e-6, surest, share > 0.5))
    assert found.scores[0] == pytest.approx(weights.mean())


def test_detections_of_one_look_stay_apart_and_each_has_a_partner():
    pair = detected([((10, 10, 30, 30), 1, 0.9), ((12, 10, 32, 30), 1, 0.8)])  # which the network's NMS let through
    found = join([pair, pair])
    assert cells_of(found) == cells_of(pair)


def test_touching_cells_stay_two_though_a_look_takes_them_for_one():
    left, right, blob = (5, 10, 20, 30), (20, 10, 35, 30), (5, 10, 35, 30)
    two = detected([(left, 1, 0.9), (right, 1, 0.8)])
    found = join([two, two, detected([(blob, 1, 0.6)])])
    assert cells_of(found) == [(list(left), 1, 0.6), (list(right), 1, 0.53333), (list(blob), 1, 0.2)]


def test_classes_are_joined_apart_so_that_the_mean_decides_between_them():
    looks = [detected([(CELL, 1, 0.6), (CELL, 2, 0.4)]), detected([(CELL, 1, 0.1), (CELL, 2, 0.8)])]
    assert cells_of(join(looks)) == [(list(CELL), 2, 0.6), (list(CELL), 1, 0.35)]


def test_detections_without_a_pixel_are_joined_by_their_boxes():
    none = replace(detected([(CELL, 1, 0.5)]), rles=[rle(np.zeros((HEIGHT, WIDTH), bool))])
    found = join([none, none])
    assert (cells_of(found), found.rles) == ([(list(CELL), 1, 0.5)], none.rles)
    filled = detected([(CELL, 1, 0.75)])
    assert join([none, filled]).rles == join([filled, none]).rles == filled.rles
    assert not mask_of(join([none, filled, none])).any(), "two of three say that there is no pixel"


def test_what_has_neither_pixel_nor_box_or_no_score_is_joined_without_an_error():
    empty = detected([((10, 10, 10, 10), 1, 0.5)])
    assert [score for _, _, score in cells_of(join([empty, empty]))] == [0.25, 0.25]
    assert [score for _, _, score in cells_of(join([detected([(CELL, 1, 0.0)])] * 2))] == [0.0]


def test_a_single_look_is_handed_on_as_it_is():
    look = detected([(CELL, 1, 0.5)])
    assert join([look]) is look
    assert join([NONE, NONE]).rles == []


@given(st.data())
@settings(max_examples=60)
def test_the_order_of_looks_changes_nothing(data):
    side = st.integers(0, 25)
    scores = iter(data.draw(st.permutations(range(1, 41))))
    looks = []
    for _ in range(3):
        corners = data.draw(st.lists(st.tuples(side, side, st.integers(1, 2)), max_size=4))
        looks.append(detected([((x, y, x + 14, y + 14), label, next(scores) / 40) for x, y, label in corners]))
    order = data.draw(st.permutations(range(3)))
    one, other = join(looks), join([looks[i] for i in order])
    key = lambda found: sorted(zip(cells_of(found), [of["counts"] for of in found.rles], strict=True))  # noqa: E731
    assert key(one) == key(other)
    assert sum(len(look.rles) for look in looks) >= len(one.rles)
    assert one.scores.sum() == pytest.approx(sum(look.scores.sum() for look in looks) / 3, rel=1e-5)


def disc(number: int, score: int) -> np.ndarray:
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 10 * number : 10 * number + 8] = number, 1, score
    return image


class Blind(Painted):
    """Finds nothing."""

    def find(self, pictures):
        for picture in pictures:
            yield replace(NONE, name=picture.name, height=picture.image.shape[0], width=picture.image.shape[1])


def test_a_cell_that_one_model_of_two_finds_scores_half():
    both = ensemble_of([Painted(), Blind()], ["runs/a", "runs/b"])
    assert isinstance(both, Ensemble)
    assert cells_of(both.detect(disc(2, 204))) == [([20, 10, 28, 20], 1, 0.4)]
    assert len(both.predict(disc(2, 204))) == 0
    assert len(both.with_tta().views) == len(VIEWS)
    assert cells_of(both.with_tta().detect(disc(2, 204))) == [([20, 10, 28, 20], 1, 0.4)]


def test_models_joined_look_at_the_same_images_and_errors_of_one_end_all():
    first, second = Painted(), Painted()
    both = ensemble_of([first, second], ["runs/a", "runs/b"])
    images = [(f"{k}.png", disc(k, 255)) for k in (1, 2, 3)]
    assert [found.name for found in both.detect_each(iter(images))] == ["1.png", "2.png", "3.png"]
    assert [picture.name for picture in first.shown] == [picture.name for picture in second.shown]
    with pytest.raises(ValueError, match=r"wrong\.png: needs RGB"):
        list(both.detect_each(iter([*images, ("wrong.png", np.zeros((4, 4, 4), np.uint8))])))


def test_one_model_alone_is_no_ensemble():
    model = Painted()
    assert ensemble_of([model], ["runs/a"]) is model


def test_runs_of_other_classes_are_refused_by_name_with_both_lists():
    told = r"runs/b has the classes L1, L2, and runs/a L1, L2, L3: .* need the same, in the same order; leave one out"
    with pytest.raises(ValueError, match=told):
        ensemble_of([Painted(), Painted(("L1", "L2"))], ["runs/a", "runs/b"])
    with pytest.raises(ValueError, match="runs/c has the classes L2, L1, L3"):
        ensemble_of([Painted(), Painted(), Painted(("L2", "L1", "L3"))], ["runs/a", "runs/b", "runs/c"])


def test_a_run_that_is_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"runs/\.\./runs/a is given twice: give each run once"):
        ensemble_of([Painted(), Painted()], ["runs/a", "runs/../runs/a"])
