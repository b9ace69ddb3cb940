"""The streams of batches: complete, repeatable, resumable, the same however many processes and threads share them."""

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.input.painted import on_canvas, open_batches, painted_field, settings, source_of
from wbcjax.batch import Batch
from wbcjax.input.draw import fit
from wbcjax.input.field_set import Source
from wbcjax.input.kept import Kept
from wbcjax.input.settings import InputSettings
from wbcjax.smear.field import Cell, SmearField, text_rle

CANVAS = (64, 64)
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


def painted_source(count: int) -> Source:
    """Fields of several sizes; every third one is without cells."""
    rng = np.random.default_rng(7)
    sizes = itertools.cycle([(48, 64), (64, 40), (30, 30)])
    fields = [painted_field(rng, *next(sizes), cells=i % 3, name=f"{i}.png") for i in range(count)]
    return source_of(fields)


def take(count: int, source: Source, config, **options) -> list[Batch]:
    with contextlib.closing(open_batches(source, config, **options)) as batches:
        return list(itertools.islice(batches, count))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name, array, wanted in zip(Batch._fields, one, other, strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=name)


def joined(parts: list[Batch]) -> Batch:
    return Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def test_the_same_seed_gives_the_same_batches_whatever_the_threads():
    source, config = painted_source(7), settings(CANVAS, **EVERYTHING)
    expected = take(6, source, config, seed=3)
    for threads, prefetch in ((1, 1), (1, 5), (3, 2)):
        made = replace(config.dataset, input=InputSettings(threads, prefetch))
        assert_same(take(6, source, config._replace(dataset=made), seed=3), expected)
    other = take(6, source, config, seed=4)
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(other, expected, strict=True))


def test_a_restored_state_goes_on_with_the_very_next_batch():
    source, config = painted_source(5), settings(CANVAS, **EVERYTHING)
    expected = take(9, source, config, seed=0)
    running = open_batches(source, config, seed=0)
    for _ in range(4):
        next(running)
    state = running.get_state()
    running.close()

    resumed = open_batches(source, config, seed=0)
    resumed.set_state(state)
    assert_same([next(resumed) for _ in range(5)], expected[4:])
    resumed.close()


def test_fields_kept_in_memory_give_the_batches_of_those_decoded_again():
    source, config = painted_source(7), settings(CANVAS, **EVERYTHING)
    size = source.field(0).image().nbytes
    without, some, all_of_them = (
        take(
            9,
            source,
            config._replace(dataset=replace(config.dataset, input=InputSettings(keep_megabytes=room))),
            seed=3,
        )
        for room in (0.0, 3 * size / 1e6, 1000.0)
    )
    assert_same(some, without)
    assert_same(all_of_them, without)


def test_no_more_is_kept_than_there_is_room_for():
    read = []

    def image(index: int) -> np.ndarray:
        read.append(index)
        return np.full(500_000, index, np.uint8)

    kept = Kept(image, lambda image: image.nbytes, megabytes=1.2)
    for _ in range(3):
        assert [kept[index][0] for index in (4, 0, 2)] == [4, 0, 2]
    assert read == [4, 0, 2, 2, 2]


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_state_saved_by_some_processes_resumes_any_other_number(before, after):
    source, config = painted_source(5), settings(CANVAS, batch_size=4, **EVERYTHING)
    expected = take(4, source, config, seed=0)
    first = [open_batches(source, config, seed=0, process_index=i, process_count=before) for i in range(before)]
    for _ in range(2):
        assert [next(share) for share in first]
    states = [share.get_state() for share in first]
    assert all(state == states[0] for state in states)
    then = [open_batches(source, config, seed=0, process_index=i, process_count=after) for i in range(after)]
    for share in then:
        share.set_state(states[0])
    assert_same([joined([next(share) for share in then]) for _ in range(2)], expected[2:])
    for batches in (*first, *then):
        batches.close()


@pytest.mark.parametrize("process_count", [2, 3])
def test_processes_together_see_the_batch_that_one_alone_would_in_its_order(process_count):
    source, config = painted_source(7), settings(CANVAS, batch_size=6, **EVERYTHING)
    alone = take(4, source, config, seed=1)
    shares = [
        take(4, source, config, seed=1, process_index=i, process_count=process_count) for i in range(process_count)
    ]
    assert_same([joined(list(parts)) for parts in zip(*shares, strict=True)], alone)


def test_each_epoch_visits_every_field_once_in_an_order_of_its_own():
    source, config = painted_source(7), settings(CANVAS, batch_size=3)
    visited = np.concatenate([batch.index for batch in take(7, source, config, seed=0)])  # three epochs
    epochs = visited.reshape(3, 7)
    for epoch in epochs:
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_field_is_augmented_anew_in_every_epoch():
    source = source_of([painted_field(np.random.default_rng(0), 48, 64)])
    config = settings(CANVAS, batch_size=1, **EVERYTHING)
    images = {batch.image.tobytes() for batch in take(8, source, config, seed=0)}
    assert len(images) == 8


def test_fields_without_cells_are_trained_on():
    source, config = painted_source(6), settings(CANVAS, batch_size=6)
    (batch,) = take(1, source, config, seed=0)
    assert sorted(batch.index) == list(range(6))
    for row in np.flatnonzero(batch.index % 3 == 0):
        assert not batch.valid[row].any()
        assert not batch.masks[row].any()


def test_the_index_of_a_row_leads_to_its_field():
    source, config = painted_source(5), settings(CANVAS, batch_size=5)
    (batch,) = take(1, source, config, seed=0)
    for row, index in enumerate(batch.index.tolist()):
        field = source.field(index)
        assert field.name == source.names[index] == f"{index}.png"
        expected, _ = fit(field.image(), CANVAS)
        np.testing.assert_array_equal(batch.image[row], expected)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"train.batch_size is 4; make it a multiple of the 3 processes"):
        open_batches(painted_source(2), settings(CANVAS, batch_size=4), seed=0, process_count=3)


def test_an_unaugmented_fields_boxes_map_back_by_scale():
    """Without augmentation a field fits the canvas so that boxes map back by the scale."""
    field = painted_field(np.random.default_rng(5), 100, 50)
    (batch,) = take(1, source_of([field]), settings((64, 128), batch_size=1), seed=0)
    scale = 64 / 100
    np.testing.assert_allclose(batch.size, [[64, 32]])
    for k, cell in enumerate(field.cells):
        rle: Any = cell.rle
        x, y, w, h = coco_mask.toBbox(rle)
        np.testing.assert_allclose(batch.boxes[0, k] / scale, [x, y, x + w, y + h], atol=0.5 / scale + 0.5)
        area = coco_mask.area(rle) * scale**2
        assert batch.masks[0, k].sum() == pytest.approx(area, rel=0.15, abs=4)  # rounder, so a little smaller


def test_a_vanishingly_thin_field_trains_as_empty():
    """A field too thin to show on the canvas is trained on as nothing."""
    field = painted_field(np.random.default_rng(1), 1, 256, cells=0, name="line.png")
    (batch,) = take(1, source_of([field]), settings(CANVAS, batch_size=1, **EVERYTHING), seed=0)
    assert not batch.image.any()
    assert not batch.valid.any()


def test_cells_too_small_to_learn_are_ignored_and_crowds_stay_crowds():
    small = np.zeros((64, 64), np.uint8, order="F")
    small[10:13, 20:24] = 1  # 12 pixels, under the 16 that training asks for
    large = np.zeros((64, 64), np.uint8, order="F")
    large[30:60, 30:60] = 1
    cells = (
        Cell(label=3, rle=text_rle(coco_mask.encode(small))),
        Cell(label=2, rle=text_rle(coco_mask.encode(large)), crowd=True),
    )
    source = source_of([SmearField("a.png", 64, 64, cells, pixels=np.zeros((64, 64, 3), np.uint8))])
    (batch,) = take(1, source, settings(CANVAS, batch_size=1), seed=0)
    assert batch.labels.tolist() == [[3, 2, 0, 0]]
    assert batch.valid.tolist() == batch.crowd.tolist() == [[True, True, False, False]]
    assert batch.outlined.tolist() == [[True, False, False, False]]
    assert batch.boxes[0, :2].tolist() == [[20, 10, 24, 13], [30, 30, 60, 60]]
    np.testing.assert_array_equal(on_canvas(batch)[0, 0], small)


def test_the_largest_number_of_cells_fills_the_batch():
    field = painted_field(np.random.default_rng(1), 64, 64)
    (batch,) = take(1, source_of([field]), settings(CANVAS, batch_size=1, max_cells=3), seed=0)
    assert batch.valid.all()
    assert batch.outlined.all()
    assert batch.masks.any(axis=(2, 3)).all()


def test_a_cell_known_by_its_box_has_that_box_and_no_mask():
    cells = (Cell(label=1, box=(10.25, 20.5, 40.75, 50.0)), Cell(label=2, box=(1.0, 1.0, 9.0, 9.0), crowd=True))
    source = source_of([SmearField("a.png", 64, 64, cells, pixels=np.zeros((64, 64, 3), np.uint8))])
    (batch,) = take(1, source, settings(CANVAS, batch_size=1), seed=0)
    np.testing.assert_array_equal(batch.boxes[0, :2], [[10.25, 20.5, 40.75, 50.0], [1, 1, 9, 9]])
    assert batch.labels.tolist() == [[1, 2, 0, 0]]
    assert batch.valid.tolist() == [[True, True, False, False]]
    assert batch.crowd.tolist() == [[False, True, False, False]]
    assert not batch.outlined.any()
    assert not batch.masks.any()


def test_a_box_that_shrinks_below_a_pixel_is_ignored():
    cells = (Cell(label=1, box=(10.0, 0.0, 11.5, 128.0)), Cell(label=2, box=(40.0, 0.0, 44.0, 128.0)))
    source = source_of([SmearField("a.png", 128, 128, cells, pixels=np.zeros((128, 128, 3), np.uint8))])
    (batch,) = take(1, source, settings(CANVAS, batch_size=1), seed=0)
    assert batch.labels.tolist() == [[1, 2, 0, 0]]
    assert batch.crowd.tolist() == [[True, False, False, False]]
    np.testing.assert_array_equal(batch.boxes[0, :2], [[5, 0, 5.75, 64], [20, 0, 22, 64]])


def test_a_field_that_cannot_be_read_stops_the_stream_with_its_error():
    source = painted_source(3)
    cell = {"rle": [b"not json"], "box": [(0, 0, 0, 0)], "label": [1], "crowd": [False], "outlined": [True]}
    source._records[1]["cells"].update(cell)
    with pytest.raises(ValueError, match="Expecting value"):
        take(3, source, settings(CANVAS), seed=0)
