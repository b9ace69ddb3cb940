"""Pickles that attack whoever unpickles them, in `.pkl` and `.pth`: nothing of them runs. Each is live, as shown first.

Then damage of every kind to whole files: nothing but ValueError and OSError comes of it.
"""

import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.fuzz.sandbox import watch
from tests.weights.pickled import (
    Call,
    Name,
    dumps,
    legacy,
    legacy_torch,
    legacy_whole,
    ordered,
    safetensors,
    write_torch,
    write_zip,
)
from wbcjax.weights.files import read_weights

ARRAYS = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "conv.bias": np.ones(2, np.float32)}


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


class SetsState:
    """Pickles with a state for the `__setstate__` of a function's result."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Trap, (), {"marker": self.marker}


class Trap:
    def __setstate__(self, state):
        Path(state["marker"]).touch()


class Chain:
    """Pickles as a call of what another call gave: getattr(os, "system")(...)."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return eval, (f"getattr(__import__('os'), 'system')('touch {self.marker}')",)


def attacks(marker: Path) -> dict[str, bytes]:
    """Pickles by name, each of which makes the file `marker` when Python's own unpickler reads it."""
    command = f"touch {marker}"
    quoted = repr(str(command)).encode()
    found = {f"os_system_{p}": pickle.dumps(Runs(os.system, command), p) for p in range(6)}
    found |= {f"in_an_entry_{p}": pickle.dumps({"model": {"a": Runs(os.system, command)}}, p) for p in (2, 5)}
    found |= {f"as_a_name_{p}": pickle.dumps({Runs(os.system, command): 1}, p) for p in (2, 5)}
    array_and_attack = {"a": ARRAYS["conv.bias"], "z": Runs(subprocess.check_call, ["touch", str(marker)])}
    found["behind_an_array"] = pickle.dumps(array_and_attack, 2)
    found["eval"] = pickle.dumps(Runs(eval, f"__import__('os').system({command!r})"), 2)
    found["exec"] = pickle.dumps(Runs(exec, f"import os; os.system({command!r})"), 4)
    found["chain"] = pickle.dumps(Chain(marker), 2)
    found["setstate"] = pickle.dumps(SetsState(str(marker)), 2)
    found["inst"] = b"\x80\x02(S" + quoted + b"\nios\nsystem\n."
    found["obj"] = b"\x80\x02(cos\nsystem\nS" + quoted + b"\no."
    found["ext1"] = b"\x80\x02\x82\xf0X" + struct.pack("<I", len(command)) + command.encode() + b"\x85R."
    found["dotted"] = dumps(Call(Name("shutil", "os.system"), command), 4)  # through a module that only imports it
    # NumPy unpickles the contents of a scalar of objects.
    inside = pickle.dumps(Runs(os.system, command), 2)
    dtype = Call(Name("numpy", "dtype"), "O8", False, True, state=(3, "|", None, None, None, -1, -1, 63))
    found["object_scalar"] = dumps({"a": Call(Name("numpy._core.multiarray", "scalar"), dtype, inside)}, 3)
    found["torch_load"] = dumps(
        ordered({"a": Call(Name("builtins", "exec"), f"import os; os.system({command!r})")}, state={"_metadata": {}})
    )
    return found


LIVE = sorted(attacks(Path("x")))


@pytest.fixture(autouse=True)
def extension():
    """What the opcode EXT1 calls by a number."""
    copyreg.add_extension("os", "system", 0xF0)
    yield
    copyreg.remove_extension("os", "system", 0xF0)


@pytest.mark.parametrize("kind", ["pkl", "pth", "legacy"])
@pytest.mark.parametrize("name", LIVE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_attack_runs(tmp_path, name, kind):
    marker = tmp_path / "ran"
    attack = attacks(marker)[name]
    if name != "object_scalar":  # which later NumPys refuse themselves
        pickle.loads(attack)
        assert marker.exists(), "the attack is none"
        marker.unlink()
    path = tmp_path / f"a.{kind}"
    if kind == "pth":
        write_zip(path, attack, {})
    else:
        path.write_bytes(attack if kind == "pkl" else legacy(attack, {}))
    with pytest.raises(ValueError, match=rf"a\.{kind}: ") as error:
        read_weights(path)
    assert not marker.exists()
    assert "pickle" in str(error.value) or "no weights file" in str(error.value) or "of type" in str(error.value)


@pytest.mark.parametrize("part", ["version", "machine", "saved", "keys"])
@pytest.mark.parametrize("name", ["os_system_2", "os_system_5", "eval", "setstate", "as_a_name_2"])
def test_no_attack_runs_in_any_pickle_of_a_file_of_old_torch(tmp_path, name, part):
    marker = tmp_path / "ran"
    pickled = dumps({"a": legacy_whole("0", ARRAYS["conv.bias"])})
    (tmp_path / "a.pth").write_bytes(legacy(pickled, {"0": ARRAYS["conv.bias"]}, **{part: attacks(marker)[name]}))
    with pytest.raises(ValueError, match=r"a\.pth: its pickle (asks for|has the opcode)"):
        read_weights(tmp_path / "a.pth")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_a_pickle_asks_for_is_named(tmp_path, protocol):
    write_zip(tmp_path / "a.pth", pickle.dumps({"a": Runs(os.system, "true")}, protocol), {})
    with pytest.raises(ValueError, match=r"asks for '(posix|nt)\.system', .* nothing was executed"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("opcodes", "named"),
    [
        (b"(U\x01xios\nsystem\n.", "INST 'os system'"),
        (b"\x82\xf0.", "EXT1 240"),
        (b"\x83\xf0\xf0.", "EXT2 61680"),
        (b"\x84\xf0\xf0\xf0\x70.", "EXT4"),
        (b"}(}o.", "OBJ"),
        (b"}}\x81.", "NEWOBJ"),
        (b"}}}\x92.", "NEWOBJ_EX"),
        (b"Pname\n.", "PERSID 'name'"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"}2.", "DUP"),
    ],
)
def test_opcodes_that_no_weights_need_are_named(tmp_path, opcodes, named):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + opcodes)
    with pytest.raises(ValueError, match=rf"a\.pkl: its pickle has the opcode {named}"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "target", [[], (), 3, "text", Name("torch", "FloatStorage"), Name("collections", "OrderedDict")]
)
def test_a_state_is_set_of_nothing_else(tmp_path, target):
    build = dumps(target)[:-1] + b"}b."
    write_zip(tmp_path / "a.pth", build, {})
    with pytest.raises(ValueError, match="a damaged pickle"):
        read_weights(tmp_path / "a.pth")


def test_the_state_of_a_dict_changes_nothing(tmp_path):
    class Shadow(OrderedDict):
        pass

    before = Shadow.update
    path = write_zip(tmp_path / "a.pth", dumps(ordered({}, state={"update": 1, "__class__": 2, "__dict__": 3})), {})
    with pytest.raises(ValueError, match="no weights in it"):
        read_weights(path)
    assert Shadow.update is before
    assert not vars(OrderedDict()).keys() & {"update"}


def test_a_name_that_takes_for_ever_to_hash_is_refused(tmp_path):
    nested = b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}" + nested + b"Ns.")
    with pytest.raises(ValueError, match="a name of type tuple"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.slow
@pytest.mark.parametrize("nested", ["shared", "deep"])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"cnumpy\ndtype\n", b"\x85R."),
        (b"cnumpy\ndtype\nU\x02f4\x85RK\x03", b"\x86b."),
        (b"c_codecs\nencode\nX\0\0\0\0", b"\x86R."),
    ],
    ids=["type", "byte order", "encoding"],
)
def test_tuples_in_the_place_of_text_are_neither_hashed_nor_spelled_out(tmp_path, before, behind, nested):
    shared = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))
    tuples = b")" + (shared if nested == "shared" else b"\x85" * 200_000)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + before + tuples + behind)
    with pytest.raises(ValueError, match=r"a\.pkl: it.*'tuple'"):
        read_weights(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "opcodes",
    [
        b"r\xff\xff\xff\x7f",  # LONG_BINPUT: C's unpickler would make room for two thousand million values
        b"\x8e" + b"\xff" * 6 + b"\0\0",  # BINBYTES8
        b"\x96" + b"\xff" * 6 + b"\0\0",  # BYTEARRAY8
        b"\x8b\xff\xff\xff\x7f",  # LONG4
        b"\x95" + b"\xff" * 6 + b"\0\0",  # FRAME
    ],
)
def test_a_size_that_a_pickle_claims_is_not_allocated(tmp_path, opcodes):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04}" + opcodes + b".")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"a\.pkl: "):
            read_weights(tmp_path / "a.pkl")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def whole_files() -> dict[str, bytes]:
    """A good file of each format."""
    made = {"pkl_2": pickle.dumps({"model": ARRAYS, "__author__": "me"}, 2), "pkl_5": pickle.dumps(ARRAYS, 5)}
    made["safetensors"] = save(ARRAYS, {"by": "me"})
    made["legacy"] = legacy_torch(ARRAYS)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        for name, array in ARRAYS.items():
            file[f"conv/conv/{name}"] = array
    made["h5"] = buffer.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        layers = [{"class_name": "Conv2D", "config": {"name": "conv"}}]
        members.writestr("config.json", f'{{"config": {{"layers": {layers}}}}}'.replace("'", '"'))
        members.writestr("model.weights.h5", keras_h5())
    made["keras"] = archive.getvalue()
    return made


def keras_h5() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for number, array in enumerate(ARRAYS.values()):
            file[f"layers/conv2d/vars/{number}"] = array
    return buffer.getvalue()


WHOLE = whole_files()


@st.composite
def damage(draw, length):
    """Where bytes change, and to what; where the file ends."""
    place = (
        st.integers(0, length - 1)
        | st.integers(0, min(length, 200) - 1)
        | st.integers(max(0, length - 200), length - 1)
    )
    changes = draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=8))
    return changes, draw(st.none() | st.integers(0, length))


def damaged(data: bytes, changes: list[tuple[int, int]], end: int | None) -> bytes:
    raw = bytearray(data)
    for place, value in changes:
        raw[place] = value
    return bytes(raw[:end])


def read_or_refuse(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    refusal, arrays = str(path), {}
    try:
        arrays = read_weights(path).arrays
    except ValueError as error:
        refusal = str(error)
    assert refusal.startswith(str(path))
    assert sum(array.nbytes for array in arrays.values()) <= 8 * len(data)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_the_whole_files_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(WHOLE[name])
    arrays = read_weights(tmp_path / name).arrays
    for found, expected in zip(sorted(arrays.values(), key=np.size), sorted(ARRAYS.values(), key=np.size), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", sorted(WHOLE))
@settings(max_examples=100)
@given(data=st.data())
def test_of_a_damaged_file_comes_a_value_error_or_an_array(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / f"damaged_{name}"
    read_or_refuse(path, damaged(WHOLE[name], *data.draw(damage(len(WHOLE[name])))))


@settings(max_examples=120)
@given(data=st.data())
def test_a_damaged_pickle_gives_an_array_or_value_error(tmp_path_factory, data):
    """Of a damaged pickle in a good archive comes a value error or an array."""
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    with zipfile.ZipFile(write_torch(path, ARRAYS, epoch=3)) as archive:
        pickled = archive.read("archive/data.pkl")
        storages = {str(i): array.tobytes() for i, array in enumerate(ARRAYS.values())}
    write_zip(path, damaged(pickled, *data.draw(damage(len(pickled)))), storages)
    read_or_refuse(path, path.read_bytes())


@settings(max_examples=100)
@given(data=st.data())
def test_of_a_damaged_archive_of_torch_comes_a_value_error_or_an_array(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    raw = write_torch(path, ARRAYS).read_bytes()
    read_or_refuse(path, damaged(raw, *data.draw(damage(len(raw)))))


@pytest.mark.parametrize("shift", [1, 1 << 16, 1 << 31])
def test_an_archive_whose_directory_points_before_its_start_is_refused(tmp_path, shift):
    path = write_torch(tmp_path / "shifted.pth", ARRAYS)
    raw = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", raw, len(raw) - 6)
    struct.pack_into("<I", raw, len(raw) - 6, start + shift)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"shifted\.pth.*(outside the file|damaged)"):
        read_weights(path)


@given(
    start=st.sampled_from([b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n", b"\x80\2", b"\x80\4", b"\x10" + b"\0" * 7 + b"{"]),
    rest=st.binary(max_size=300),
)
def test_of_noise_comes_a_value_error(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / "noise.pth"
    path.write_bytes(start + rest)
    with pytest.raises(ValueError, match=r"noise\.pth: "):
        read_weights(path)


def test_reading_imports_neither_torch_nor_keras(tmp_path):
    path = write_torch(tmp_path / "a.pth", ARRAYS)
    program = (
        "import sys; from pathlib import Path; from wbcjax.weights.files import read_weights; "
        f"read_weights(Path({str(path)!r})); print(sorted({{'torch', 'keras', 'tensorflow'}} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_header_with_a_name_twice_is_refused(tmp_path):
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    (tmp_path / "a.safetensors").write_bytes(safetensors(b"{" + entry + b"," + entry + b"}", b"\0" * 4))
    with pytest.raises(ValueError, match=r"a\.safetensors: 'a' is there twice"):
        read_weights(tmp_path / "a.safetensors")


def test_a_keras_archive_that_lacks_a_member_is_refused_naming_it(tmp_path):
    whole = zipfile.ZipFile(io.BytesIO(WHOLE["keras"]))
    with zipfile.ZipFile(tmp_path / "lacking.keras", "w") as archive:
        archive.writestr("model.weights.h5", whole.read("model.weights.h5"))
    with pytest.raises(ValueError, match=r"lacking\.keras: the archive has no config\.json; save the model again"):
        read_weights(tmp_path / "lacking.keras")


def test_a_pipe_in_the_place_of_weights_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    with watch(tmp_path), pytest.raises(OSError, match="no regular file"):
        read_weights(tmp_path / "a.pth")


def test_a_header_of_many_names_the_last_twice_is_refused_in_time(tmp_path):
    names = [*(f"n{i}" for i in range(30_000)), "n29999"]
    header = ",".join(f'"{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for name in names)
    (tmp_path / "a.safetensors").write_bytes(safetensors(f"{{{header}}}".encode(), b""))
    with watch(tmp_path), pytest.raises(ValueError, match=r"a\.safetensors: 'n29999' is there twice"):
        read_weights(tmp_path / "a.safetensors")
