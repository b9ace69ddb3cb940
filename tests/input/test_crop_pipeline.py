"""Batches of crops: balanced, complete, repeatable, resumable, the same however shared; and no border that tells."""

import contextlib
import itertools
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.input.crop_sets import open_batches, settings, source_of
from wbcjax.batch import CropBatch
from wbcjax.input.crop_pipeline import fit_crop
from wbcjax.input.crop_set import CropSource
from wbcjax.input.mix import Mix
from wbcjax.input.settings import InputSettings

CANVAS = (24, 24)
EVERYTHING = {
    "flip_horizontal": True,
    "flip_vertical": True,
    "rotate": True,
    "shift": True,
    "scale": (0.7, 1.5),
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "hue": 10.0,
}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def random_source(labels: list[int]) -> CropSource:
    """Crops of several sizes."""
    sizes = itertools.cycle([(20, 20), (31, 31), (12, 18)])
    return source_of([noise(*next(sizes), seed=i) for i in range(len(labels))], labels)


def take(count: int, source: CropSource, config, **options) -> list[CropBatch]:
    with contextlib.closing(open_batches(source, config, **{"seed": 0} | options)) as batches:
        return list(itertools.islice(batches, count))


def drawn(count: int, labels: list[int], batch_size: int = 4, **options) -> list[int]:
    """The positions in its source of the crops that balanced batches show, which are `count`."""
    source = source_of([np.zeros((1, 1, 3), np.uint8)] * len(labels), labels)
    batches = take(count // batch_size, source, settings((1, 1), batch_size, balance=True), **options)
    return np.concatenate([batch.index for batch in batches]).tolist()


def assert_same(found: list[CropBatch], expected: list[CropBatch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name, array, wanted in zip(CropBatch._fields, one, other, strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=name)


@pytest.mark.parametrize("balance", [False, True])
def test_the_same_seed_gives_the_same_batches_whatever_the_threads(balance):
    source, config = random_source([0, 1, 1, 1, 2]), settings(CANVAS, balance=balance, **EVERYTHING)
    expected = take(6, source, config, seed=3)
    for threads, prefetch in ((1, 1), (1, 5), (3, 2)):
        made = replace(config.dataset, input=InputSettings(threads, prefetch))
        assert_same(take(6, source, config._replace(dataset=made), seed=3), expected)
    other = take(6, source, config, seed=4)
    assert any(not np.array_equal(a.index, b.index) for a, b in zip(other, expected, strict=True))


@pytest.mark.parametrize("balance", [False, True])
def test_a_restored_state_goes_on_with_the_very_next_batch(balance):
    source, config = random_source([0, 1, 1, 1, 2]), settings(CANVAS, balance=balance, **EVERYTHING)
    expected = take(9, source, config)
    running = open_batches(source, config, seed=0)
    for _ in range(4):
        next(running)
    state = running.get_state()
    running.close()

    resumed = open_batches(source, config, seed=0)
    resumed.set_state(state)
    assert_same([next(resumed) for _ in range(5)], expected[4:])
    resumed.close()


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("process_count", [2, 3])
def test_processes_together_see_the_batch_that_one_alone_would_in_its_order(process_count, balance):
    source, config = random_source([0, 1, 1, 1, 2]), settings(CANVAS, batch_size=6, balance=balance, **EVERYTHING)
    alone = take(4, source, config)
    shares = [take(4, source, config, process_index=i, process_count=process_count) for i in range(process_count)]
    for parts, whole in zip(zip(*shares, strict=True), alone, strict=True):
        assert_same([CropBatch(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))], [whole])


def test_each_epoch_shows_every_crop_once_in_an_order_of_its_own():
    source, config = random_source([0] * 5 + [1] * 2), settings(CANVAS, batch_size=3)
    epochs = np.concatenate([batch.index for batch in take(7, source, config)]).reshape(3, 7)
    for epoch in epochs:
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("counts", [(1, 1), (3, 3), (9, 2), (1, 7, 4), (0, 6, 5)])
def test_balanced_draws_show_classes_equally_often_and_every_crop_before_any_again(counts, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    present = sorted(set(labels))
    order = drawn(12 * len(present), labels, batch_size=len(present), seed=seed)
    for start in range(0, len(order), len(present)):
        assert sorted(labels[index] for index in order[start : start + len(present)]) == present
    for label in present:
        of_class = [index for index in order if labels[index] == label]
        rounds = [of_class[start : start + counts[label]] for start in range(0, 12, counts[label])]
        assert all(len(set(one)) == len(one) for one in rounds)


def test_balanced_classes_come_in_no_fixed_order():
    """Balanced classes come in no fixed order so that no process gets one class."""
    labels = [0] * 30 + [1] * 10
    for process in range(2):
        seen = Counter(labels[index] for index in drawn(200, labels, 20, process_index=process, process_count=2))
        assert seen.total() == 100
        assert 35 <= seen[0] <= 65, seen


def test_classes_of_the_same_size_are_not_shown_in_fixed_pairs():
    order = drawn(40, [0] * 10 + [1] * 10)
    assert len({tuple(sorted(pair)) for pair in zip(order[::2], order[1::2], strict=True)}) > 12
    assert any(abs(one - other) != 10 for one, other in zip(order[::2], order[1::2], strict=True))


def test_targets_and_indices_are_those_of_the_crops_shown():
    source = source_of([np.full((9, 9, 3), 20 * i, np.uint8) for i in range(9)], [0, 1, 2] * 3)
    for batch in take(5, source, settings(CANVAS, balance=True, scale=(0.5, 2.0), rotate=True)):
        assert (batch.target.dtype, batch.index.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(batch.target, np.eye(3)[batch.index % 3])
        wanted = np.broadcast_to((20 * batch.index)[:, None, None, None], batch.image.shape)
        np.testing.assert_array_equal(batch.image, wanted)


@pytest.mark.parametrize("canvas", [(24, 24), (40, 17)])
def test_without_augmentation_training_shows_what_prediction_does(canvas):
    source = random_source([0, 1, 2] * 3)
    for batch in take(3, source, settings(canvas, batch_size=3)):
        for image, index in zip(batch.image, batch.index.tolist(), strict=True):
            np.testing.assert_array_equal(image, fit_crop(source.image(index), canvas))


def test_mixed_labels_equal_the_shares_shown():
    """A mixed crop has as much of each class as it shows of its crops."""
    shades = np.array([0, 100, 200])
    config = settings(CANVAS, batch_size=30, balance=True)
    config = config._replace(mix=Mix(mixup=1.0))
    source = source_of([np.full((9, 9, 3), shade, np.uint8) for shade in shades], [0, 1, 2])
    (batch,) = take(1, source, config)
    np.testing.assert_allclose(batch.image.mean(axis=(1, 2, 3)), batch.target @ shades, atol=0.51)
    np.testing.assert_allclose(batch.target.sum(axis=1), 1, rtol=1e-6)
    assert np.all(batch.target[np.arange(30), batch.index] > 0)
    assert np.count_nonzero((batch.target > 0).sum(axis=1) == 2) > 10


def test_a_crop_is_augmented_anew_in_every_epoch():
    batches = take(8, random_source([0]), settings(CANVAS, batch_size=1, **EVERYTHING))
    assert len({batch.image.tobytes() for batch in batches}) == 8


def test_flips_and_turns_give_all_eight_views():
    """Flips and turns show a crop from all eight sides and move no pixel."""
    image = noise(*CANVAS)
    sides = {np.rot90(flipped, turns).tobytes() for flipped in (image, image[:, ::-1]) for turns in range(4)}
    config = settings(CANVAS, batch_size=60, flip_horizontal=True, flip_vertical=True, rotate=True)
    (batch,) = take(1, source_of([image], [0]), config)
    assert {shown.tobytes() for shown in batch.image} == sides
    assert len(sides) == 8


def test_a_shrunken_crop_has_no_telltale_border():
    """A crop made smaller leaves no border that could tell its scale or shape."""
    white = [np.full((height, width, 3), 255, np.uint8) for height, width in ((20, 20), (31, 12), (3, 40))]
    config = settings(CANVAS, batch_size=30, scale=(0.1, 0.6), rotate=True, shift=True)
    (batch,) = take(1, source_of(white, [0, 1, 2]), config)
    assert np.all(batch.image == 255)


def test_a_shrunken_crop_is_centred_and_mirrored():
    """A crop made smaller stays in the middle and is mirrored at its edges."""
    image = noise(24, 24)
    (batch,) = take(1, source_of([image], [0]), settings(CANVAS, batch_size=1, scale=(0.5, 0.5)))
    small = cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(batch.image[0], np.pad(small, ((6, 6), (6, 6), (0, 0)), "reflect"))


@pytest.mark.parametrize("shift", [False, True])
def test_a_crop_made_larger_shows_a_part_of_it_the_middle_unless_shifted(shift):
    image = noise(24, 24)
    (batch,) = take(1, source_of([image], [0]), settings(CANVAS, batch_size=20, scale=(2.0, 2.0), shift=shift))
    large = cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR).astype(int)
    places = set()
    for shown in batch.image:
        misfit = {
            (top, left): np.abs(large[top : top + 24, left : left + 24] - shown).max()
            for top in range(25)
            for left in range(25)
        }
        place = min(misfit, key=lambda at: misfit[at])
        assert misfit[place] <= 2
        places.add(place)
    assert len(places) > 10 if shift else places == {(12, 12)}


def test_colours_change_and_places_do_not():
    image = noise(*CANVAS) // 2 + 60
    config = settings(CANVAS, batch_size=8, brightness=0.2, contrast=0.2, saturation=0.2, hue=10.0)
    (batch,) = take(1, source_of([image], [0]), config)
    for shown in batch.image:
        assert (shown != image).any()
        assert np.corrcoef(shown.ravel(), image.ravel())[0, 1] > 0.9


@given(size=st.integers(1, 60), canvas=st.integers(1, 60), seed=st.integers(0, 100))
def test_a_square_crop_fills_a_square_canvas(size, canvas, seed):
    image = cv2.GaussianBlur(noise(size, size, seed=seed), (5, 5), 0)
    shown = fit_crop(image, (canvas, canvas))
    assert shown.shape == (canvas, canvas, 3)
    if canvas > size:
        wanted = cv2.resize(image, (canvas, canvas), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(shown.astype(int), wanted, atol=3)
    elif canvas < 0.6 * size:
        wanted = cv2.resize(image, (canvas, canvas), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(shown.astype(int), wanted, atol=3)
    elif canvas == size:
        np.testing.assert_array_equal(shown, image)


@pytest.mark.parametrize(
    ("shape", "canvas", "around"),
    [
        ((20, 40), (40, 40), ((10, 10), (0, 0))),
        ((40, 21), (40, 40), ((0, 0), (9, 10))),
        ((3, 40), (40, 40), ((18, 19), (0, 0))),  # reflected again and again
        ((1, 40), (40, 40), ((19, 20), (0, 0))),
        ((40, 40), (40, 56), ((0, 0), (8, 8))),
    ],
)
def test_an_oblong_crop_keeps_its_shape(shape, canvas, around):
    """What is not square keeps its shape in the middle and is mirrored at its edges."""
    image = noise(*shape)
    np.testing.assert_array_equal(fit_crop(image, canvas), np.pad(image, (*around, (0, 0)), "reflect"))


def test_a_crop_too_thin_to_show_gives_its_mean_colour():
    image = np.full((1, 400, 3), (10, 20, 30), np.uint8)
    assert np.all(fit_crop(image, (20, 20)) == (10, 20, 30))


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"train.batch_size is 4; make it a multiple of the 3 processes"):
        open_batches(random_source([0, 1]), settings(CANVAS, batch_size=4), seed=0, process_count=3)


def test_a_crop_that_cannot_be_read_stops_the_stream_with_its_name():
    source = random_source([0, 1, 2])
    source._records[1]["image"] = b"no image"  # pyright: ignore[reportIndexIssue]
    with pytest.raises(ValueError, match=r"b/1\.png: not an image"):
        take(3, source, settings(CANVAS))
