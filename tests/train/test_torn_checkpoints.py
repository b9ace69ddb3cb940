"""Checkpoints that were damaged after they were saved: what training and prediction make of them, and say."""

import errno
import random
import re
import shutil
from pathlib import Path

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from grain.checkpoint import CheckpointHandler, CheckpointSave

from tests.train.saved import assert_whole, batches, contents, place, state
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory, load_variables
from wbcjax.train.checkpoint_files import TornCheckpoint

SEED = 20


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A folder with the whole checkpoints of steps 1, the best, and 2."""
    directory = tmp_path_factory.mktemp("whole")
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(state(1), place(1), 0.5)
        checkpoints.save(state(2), place(2), 0.4)
    return directory


def lost(path: Path, _: random.Random) -> str:
    path.unlink()
    return "is missing"


def cut_short(path: Path, chance: random.Random) -> str:
    data = path.read_bytes()
    kept = chance.randrange(len(data))
    path.write_bytes(data[:kept])
    return f"has {kept} bytes, not the {len(data)} that were written"


def one_bit_flipped(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return "is not what was written"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lost, cut_short, one_bit_flipped])
def test_whatever_file_is_damaged_training_goes_on_from_the_checkpoint_before(two, tmp_path, caplog, damage):
    chance = random.Random(SEED)
    names = [name for name in contents(two / "2") if not name.startswith("metrics/") and name != "digests.json"]
    assert len(names) > 15
    for number, name in enumerate(sorted(names)):
        directory = tmp_path / str(number)
        shutil.copytree(two, directory)
        wrong = damage(directory / "2" / name, chance)
        torn = contents(directory / "2")
        caplog.clear()
        with Checkpoints(directory) as checkpoints:
            assert (checkpoints.latest, checkpoints.best) == (1, 1)
            (warning,) = caplog.messages
            for part in (f"{directory / '2' / name} {wrong}", f"kept as {directory / '2.torn'}", "goes on from step 1"):
                assert part in warning
            assert contents(directory / "2.torn") == torn
            checkpoints.save(state(2), place(2), 0.6)
        with Checkpoints(directory) as checkpoints:
            assert (checkpoints.latest, checkpoints.best) == (2, 2)
        assert len(caplog.messages) == 1
        assert contents(directory / "2.torn") == torn
    with Checkpoints(directory) as checkpoints:
        assert_whole(checkpoints, directory, 1)
        assert_whole(checkpoints, directory, 2)


@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped])
def test_damaged_digests_count_as_a_torn_checkpoint(two, tmp_path, damage):
    chance = random.Random(SEED)
    for number in range(20):
        directory = tmp_path / str(number)
        shutil.copytree(two, directory)
        damage(directory / "2" / "digests.json", chance)
        with Checkpoints(directory) as checkpoints:
            assert checkpoints.latest == 1


def test_torn_checkpoints_of_one_step_do_not_replace_each_other(two, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    torn = []
    for _ in range(3):
        (directory / "2" / "data" / "metadata").unlink()
        torn.append(contents(directory / "2"))
        with Checkpoints(directory) as checkpoints:
            checkpoints.save(state(2), place(2), None)
    assert [contents(directory / name) for name in ("2.torn", "2.torn-2", "2.torn-3")] == torn


def test_with_no_whole_checkpoint_left_training_starts_anew_and_says_so(two, tmp_path, caplog):
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    for step in "12":
        (directory / step / "prediction" / "manifest.ocdbt").write_bytes(b"")
    with Checkpoints(directory) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (None, None)
    assert {path.name for path in directory.iterdir()} == {"1.torn", "2.torn"}
    assert all("training starts anew" in message for message in caplog.messages)
    assert len(caplog.messages) == 2


def test_a_best_checkpoint_that_is_torn_is_best_no_longer(two, tmp_path, caplog):
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    (directory / "1" / "training" / "manifest.ocdbt").unlink()
    with Checkpoints(directory) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (2, 2)
    assert "goes on from step 2" in caplog.text


def test_the_data_place_goes_with_its_checkpoint(two, tmp_path):
    """The place in the data goes with the checkpoint that training goes on from."""
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    (directory / "2" / "digests.json").write_bytes(b"{")
    data, expected = batches(5), batches(1)
    with Checkpoints(directory) as checkpoints:
        checkpoints.restore(1, state(0), data)
    np.testing.assert_equal(next(data), next(expected))


def test_what_may_not_be_read_is_not_taken_for_torn(two, tmp_path, monkeypatch):
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    opened = Path.open

    def denied(path, *args, **options):
        if path.name == "manifest.ocdbt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **options)

    for digests in ("there", "absent"):
        if digests == "absent":
            (directory / "2" / "digests.json").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", denied)
            with pytest.raises(PermissionError, match=r"manifest\.ocdbt"):
                Checkpoints(directory)
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.latest == 2


# The score, which is written again by itself.


@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped])
def test_a_latest_checkpoint_with_a_damaged_score_counts_as_not_evaluated(two, tmp_path, caplog, damage):
    chance = random.Random(SEED)
    for number in range(20):
        directory = tmp_path / str(number)
        shutil.copytree(two, directory)
        damage(directory / "2" / "metrics" / "metrics", chance)
        with Checkpoints(directory) as checkpoints:
            assert (checkpoints.latest, checkpoints.best) == (2, 1)
            # A bit of the digest's own name makes it one of an earlier version: what it says is still right.
            assert not checkpoints.evaluated(2) or '"score": 0.4' in (directory / "2/metrics/metrics").read_text()
            assert_whole(checkpoints, directory, 2)
    assert re.search(r"2/metrics/metrics is damaged.*step 2 counts as not evaluated", caplog.text)


def test_a_checkpoint_with_a_damaged_score_is_set_aside(two, tmp_path, caplog):
    """An earlier checkpoint with a damaged score is set aside as it may be the best."""
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    (directory / "1" / "metrics" / "metrics").write_text('{"score": 0.9, "evaluated": true, "digest": "0"}')
    with Checkpoints(directory) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (2, 2)
    assert (directory / "1.torn").is_dir()
    assert "its score is not what was written" in caplog.text


def test_a_lost_score_is_that_of_no_evaluation(two, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(two, directory)
    (directory / "2" / "metrics" / "metrics").unlink()
    with Checkpoints(directory) as checkpoints:
        assert (checkpoints.latest, checkpoints.best, checkpoints.evaluated(2)) == (2, 1, False)


# Reading for prediction.


@pytest.fixture
def run(two, tmp_path) -> Path:
    shutil.copytree(two, checkpoint_directory(tmp_path))
    return tmp_path


@pytest.mark.parametrize("damage", [lost, cut_short, one_bit_flipped])
def test_a_torn_best_checkpoint_is_not_predicted_with_and_the_other_is_named(run, damage):
    files = [path for path in (checkpoint_directory(run) / "1" / "prediction").rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    wrong = damage(path, random.Random(SEED))
    before = contents(run)
    with pytest.raises(TornCheckpoint, match=rf"best.* torn: {path} {wrong}.*\(--checkpoint latest\)"):
        load_variables(run, "best")
    variables, step = load_variables(run, "latest")
    assert step == 2
    np.testing.assert_equal(variables["params"], state(2).params)
    assert contents(run) == before


def test_prediction_does_without_what_only_training_needs(run):
    shutil.rmtree(checkpoint_directory(run) / "1" / "training")
    variables, step = load_variables(run, "best")
    assert step == 1
    np.testing.assert_equal(variables["params"], state(1).params)


def test_which_checkpoint_is_best_is_not_guessed_where_a_score_is_damaged(run):
    path = checkpoint_directory(run) / "2" / "metrics" / "metrics"
    path.write_text("{")
    with pytest.raises(TornCheckpoint, match=rf"{path} is damaged.*--checkpoint latest"):
        load_variables(run, "best")
    assert load_variables(run, "latest")[1] == 2


# Checkpoints of earlier versions: orbax's CheckpointManager, no digests, the place in the data of each process.


def save_as_before(directory: Path, step: int, data: grain.DatasetIterator, score: float) -> None:
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item in ("prediction", "training"):
        handlers.add(item, ocp.args.StandardSave, ocp.StandardCheckpointHandler())
    handlers.add("data", CheckpointSave, CheckpointHandler())  # pyright: ignore[reportArgumentType]
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics["score"], enable_async_checkpointing=False, create=True
    )
    saved = state(step)
    with ocp.CheckpointManager(directory, options=options, handler_registry=handlers) as manager:
        manager.save(
            step,
            args=ocp.args.Composite(
                prediction=ocp.args.StandardSave({"params": saved.params, **saved.collections}),
                training=ocp.args.StandardSave({"step": saved.step, "opt_state": saved.opt_state, "key": saved.key}),
                data=CheckpointSave(data),
            ),
            metrics={"score": score, "evaluated": True},
        )


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("old")
    save_as_before(directory, 1, batches(1), 0.5)
    save_as_before(directory, 2, batches(2), 0.4)
    return directory


def test_a_run_of_an_earlier_version_goes_on_with_another_number_of_processes(old, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(old, directory)
    share = directory / "2" / "data" / "process_0-of-1.json"
    shutil.copy(share, share.with_name("process_1-of-2.json"))
    share.rename(share.with_name("process_0-of-2.json"))
    data, expected = batches(), batches(2)
    with Checkpoints(directory) as checkpoints:
        assert (checkpoints.latest, checkpoints.best, checkpoints.evaluated(2)) == (2, 1, True)
        np.testing.assert_equal(checkpoints.restore(2, state(0), data)._asdict(), state(2)._asdict())
        np.testing.assert_equal(next(data), next(expected))
        assert_whole(checkpoints, directory, 2)  # it has digests now
        checkpoints.save(state(3), data.get_state(), 0.6)
    assert {path.name for path in directory.iterdir()} == {"2", "3"}


# Told of one lost array, orbax closes the loop that the others report to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "name", ["data/process_0-of-1.json", "training/manifest.ocdbt", "prediction/_METADATA", "prediction/d"]
)
def test_a_checkpoint_of_an_earlier_version_that_cannot_be_restored_is_torn(old, tmp_path, caplog, name):
    shutil.copytree(old, checkpoint_directory(tmp_path))
    path = checkpoint_directory(tmp_path) / "2" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(b"")
    if name.startswith("prediction"):
        with pytest.raises(TornCheckpoint, match=r"2 cannot be restored"):
            load_variables(tmp_path, "latest")
    with Checkpoints(checkpoint_directory(tmp_path)) as checkpoints:
        assert checkpoints.latest == 1
    assert "2 cannot be restored" in caplog.text
