"""Parts by import path: read from a config, checked, changed by a command line, made, and written down again."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from wbcjax.commands import config_file
from wbcjax.settings.checked import ConfigError, Count, Positive, Share, build, problems
from wbcjax.settings.parts import PartOf, Untrusted, as_values, check_trusted, completed, outside, part

HERE = __name__


class Block(nn.Module):
    """A part of a part."""

    rate: Share = 0.0

    def __call__(self, x: Array) -> Array:
        return x


class Net(nn.Module):
    """A backbone."""

    depth: Literal[18, 50] = 50
    widths: tuple[Count, ...] = (8, 16)
    block: Annotated[nn.Module, PartOf({"block": f"{HERE}:Block"})] = Block()
    act: Callable[[Array], Array] = nn.relu
    extra: Any = None
    dtype: DTypeLike = jnp.float32
    remat: bool = False


class OtherNet(nn.Module):
    """Another one, with arguments of its own."""

    size: Literal["tiny", "small"] = "tiny"
    dtype: DTypeLike = jnp.float32


class NetWithoutDtype(nn.Module):
    """One whose argument the program gives has no default."""

    dtype: DTypeLike


class Refusing(nn.Module):
    """One that checks its arguments itself."""

    width: int = 1

    def __post_init__(self):
        if self.width > 3:
            raise TypeError("width is\ntoo large")
        super().__post_init__()


@dataclass(frozen=True)
class Head:
    """A part that is no linen module."""

    channels: Count = 4
    maybe: Positive = None  # pyright: ignore[reportAssignmentType]


def smooth(predicted, wanted, *, beta: Positive = 1.0):
    return beta * (predicted - wanted)


def sgd(learning_rate: Positive, momentum: Share = 0.9):
    return learning_rate, momentum


NUMBER = 3
NETS = {"net": f"{HERE}:Net", "other": f"{HERE}:OtherNet"}
Backbone = Annotated[nn.Module, PartOf(NETS, given=("dtype", "remat"), base=nn.Module)]
AnyHead = Annotated[Any, PartOf({"head": f"{HERE}:Head"})]


@dataclass(frozen=True)
class Model:
    backbone: Backbone = Net()  # noqa: RUF009
    neck: Annotated[nn.Module, PartOf(NETS)] | None = None
    heads: dict[str, AnyHead] = field(default_factory=dict, hash=False)
    losses: tuple[Annotated[Callable, PartOf({"smooth": f"{HERE}:smooth"}, leading=2)], ...] = ()


SGD = functools.partial(sgd, learning_rate=0.1)


@dataclass(frozen=True)
class Whole:
    task: str
    model: Model = Model()
    optimizer: Annotated[Callable, PartOf({"sgd": f"{HERE}:sgd"})] = SGD
    dataset: dict[str, str] = field(default_factory=dict, hash=False)


def told(**model) -> list[str]:
    return problems(Model, model, "config.model")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Writes a module of somebody's into the current folder, which is not where Python looks."""
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    before = set(sys.modules)

    yield lambda name, text: (tmp_path / f"{name}.py").write_text(text)
    for name in set(sys.modules) - before:
        if name.startswith("lab_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("named", "line"),
    [
        (None, "config.model.backbone.part is None: give one of 'net', 'other', or a path module:Name, such as"),
        ("nett", "config.model.backbone.part is 'nett': did you mean 'net'?"),
        ("zzz", "config.model.backbone.part is 'zzz': give one of 'net', 'other', or a path module:Name, such"),
        ("a b:C", "config.model.backbone.part is 'a b:C': give one of"),
        (f"{HERE}:a.b", "a.b': give one of"),
        (f"{HERE}:", ":': give one of"),
        (
            "lab_none:Net",
            "config.model.backbone.part is 'lab_none:Net': there is no module 'lab_none': install it",
        ),
        ("json.lab:Net", "'json.lab:Net': there is no module 'json.lab': install it"),
        (f"{HERE}:Nett", f": {HERE} has no Nett: did you mean Net?"),
        (f"{HERE}:Zzzz", f": {HERE} has no Zzzz: name one of its classes or functions"),
        (f"{HERE}:NUMBER", "NUMBER', a int: name a class or a function"),
        (f"{HERE}:Head", "Head', no flax.linen.Module: name a class that derives from it"),
        (f"{HERE}:smooth", "smooth', no flax.linen.Module: name a class that derives from it"),
        (
            f"{HERE}:NetWithoutDtype",
            "whose dtype has no default, and the program gives it later: give ",
        ),
        (
            "wbcjax.settings.parts:Path",
            "'wbcjax.settings.parts:Path', no flax.linen.Module: name a class that derives from it",
        ),
    ],
)
def test_a_path_that_cannot_be_used_is_told_in_a_line(named, line):
    [said] = told(backbone={"part": named})
    assert line in said
    assert said.startswith(f"config.model.backbone.part is {named!r}")
    assert "\n" not in said


def test_a_thing_that_wbcjax_only_imports_is_no_part_of_it():
    said = told(heads={"a": {"part": "wbcjax.settings.parts:ConfigDict"}})
    assert said == [
        "config.model.heads.a.part is 'wbcjax.settings.parts:ConfigDict', which is of "
        "ml_collections.config_dict.config_dict: name it as 'ml_collections.config_dict.config_dict:ConfigDict'"
    ]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "config.model.backbone.part is missing: give one of 'net', 'other', or a path module:Name, such as"),
        ("net", "config.model.backbone is 'net': it is a part: name its class by config.model.backbone.part"),
        (
            {"part": "net", "deptt": 18},
            "config.model.backbone.deptt is unknown: did you mean config.model.backbone.depth?",
        ),
        ({"part": "other", "zzz": 1}, "config.model.backbone.zzz is unknown. other has: part, size"),
        ({"part": "net", "depth": 19}, "config.model.backbone.depth is 19: give one of 18, 50"),
        ({"part": "other", "depth": 18}, "config.model.backbone.depth is unknown. other has: part, size"),
        ({"part": "net", "widths": (8, 0)}, "config.model.backbone.widths[1] is 0: give a whole number of at least 1"),
        (
            {"part": "net", "dtype": "bfloat16"},
            "config.model.backbone.dtype is 'bfloat16', and the program gives it: ",
        ),
        ({"part": "net", "name": "a"}, "config.model.backbone.name is unknown"),
        ({"part": "net", "extra": jnp.float32}, "give a value that JSON can hold: texts, finite numbers"),
        (
            {"part": "net", "block": {"part": "block", "rate": 2}},
            "config.model.backbone.block.rate is 2: give a number",
        ),
        ({"part": "net", "block": {"part": f"{HERE}:Blck"}}, "has no Blck: did you mean Block?"),
        ({"part": f"{HERE}:Refusing", "width": 4}, "config.model.backbone: TypeError: width is too large"),
    ],
)
def test_arguments_that_cannot_be_are_told_by_key(values, line):
    [said] = told(backbone=values)
    assert line in said
    assert "\n" not in said


def test_parts_in_tuples_and_dictionaries_are_told_by_their_place():
    assert told(losses=({"part": "smooth"}, {"part": "smooth", "beta": 0})) == [
        "config.model.losses[1].beta is 0: give a number above 0"
    ]
    assert told(losses=({"part": "smooth", "wanted": 1},)) == [
        "config.model.losses[0].wanted is 1, and the program gives it: leave it out"
    ]
    assert told(heads={"a": {"part": "head", "channels": 0}}) == [
        "config.model.heads.a.channels is 0: give a whole number of at least 1"
    ]
    assert told(neck={"part": "net", "depth": 3}) == ["config.model.neck.depth is 3: give one of 18, 50"]
    assert problems(Whole, {"task": "a", "optimizer": {"part": "sgd"}}, "config") == [
        "config.optimizer.learning_rate is missing: set it"
    ]
    assert told(neck=None) == []


def test_a_config_is_built_into_instances_and_partial_functions():
    config = ConfigDict({"backbone": part("net", depth=18, widths=[1, 2], extra=[1, [2]])})
    config.neck = part(f"{HERE}:OtherNet", size="small")
    config.heads = {"a": part("head", channels=2)}
    config.losses = (part("smooth", beta=2.0), part("smooth"))
    assert problems(Model, config.to_dict(), "config.model") == []
    model = build(Model, config.to_dict())
    assert model.backbone == Net(depth=18, widths=(1, 2), extra=(1, (2,)))
    assert model.neck == OtherNet(size="small")
    assert model.heads == {"a": Head(2)}
    assert [loss(5.0, 2.0) for loss in model.losses] == [6.0, 3.0]


def test_a_module_of_the_current_folder_is_found_and_its_string_annotations_read(lab):
    lab(
        "lab_future",
        """
from __future__ import annotations
from typing import TYPE_CHECKING, Annotated
import flax.linen as nn
from wbcjax.settings.checked import Count
from wbcjax.settings.parts import PartOf
if TYPE_CHECKING:
    from nowhere import Unknown
class Inner(nn.Module):
    rate: float = 0.5
class Net(nn.Module):
    width: Count = 8
    inner: Annotated[nn.Module, PartOf(base=nn.Module)] = Inner()
    strange: Unknown = 1
def loss(a, b, beta: Count = 1): ...
""",
    )
    values = {"part": "lab_future:Net", "width": 0, "strange": "x", "inner": {"part": "lab_future:Inner", "rate": "a"}}
    assert told(backbone=values) == [
        "config.model.backbone.width is 0: give a whole number of at least 1",
        "config.model.backbone.inner.rate is 'a': give a number",
    ]
    values |= {"width": 2, "inner": {"part": "lab_future:Inner", "rate": 1}}
    assert told(backbone=values) == []
    net = build(Model, {"backbone": values}).backbone
    assert (net.width, net.inner.rate, net.strange) == (2, 1, "x")
    assert told(losses=({"part": "lab_future:loss", "beta": 0},)) == [
        "config.model.losses[0].beta is 0: give a whole number of at least 1"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "import json\nimport no_such_thing",
            "lab_broken.py, line 2: ModuleNotFoundError: No module",
        ),
        ("def f():\n    return 1 / 0\n\nf()", "lab_broken.py, line 2: ZeroDivisionError: division by zero"),
        ("class Net(:", "SyntaxError: invalid syntax (lab_broken.py, line 1)"),
        ("import json\njson.loads('{')", "lab_broken.py, line 2: JSONDecodeError: "),
    ],
)
def test_an_error_within_a_module_is_told_with_its_line(lab, text, line):
    lab("lab_broken", text)
    [said] = told(backbone={"part": "lab_broken:Net"})
    assert said.startswith("config.model.backbone.part is 'lab_broken:Net': ")
    assert line in said
    assert "\n" not in said


nets = st.builds(
    Net,
    depth=st.sampled_from([18, 50]),
    widths=st.lists(st.integers(1, 99), max_size=3).map(tuple),
    block=st.builds(Block, rate=st.floats(0, 1)),
    extra=st.one_of(st.none(), st.text(), st.tuples(st.integers(), st.booleans())),
)
backbones = st.one_of(nets, st.builds(OtherNet, size=st.sampled_from(["tiny", "small"])))
heads = st.dictionaries(st.sampled_from("abc"), st.builds(Head, channels=st.integers(1, 9)))


@given(st.builds(Model, backbone=backbones, neck=st.none() | backbones, heads=heads))
def test_settings_with_built_parts_become_a_config_and_come_back(model):
    values = ConfigDict(as_values(model)).to_dict()
    assert problems(Model, values, "config.model") == []
    assert build(Model, values) == model
    assert completed(Model, values) == values


def test_a_function_and_its_arguments_come_back():
    values = as_values(Model(losses=(functools.partial(smooth, beta=3.0), smooth)))
    assert values["losses"] == ({"part": "smooth", "beta": 3.0}, {"part": "smooth"})
    assert [loss(2.0, 1.0) for loss in build(Model, values).losses] == [3.0, 1.0]
    assert as_values(Whole("a"))["optimizer"] == {"part": "sgd", "learning_rate": 0.1}


def test_of_a_part_all_is_written_but_what_the_program_gives():
    assert as_values(Model(Net(depth=18, dtype=jnp.bfloat16, remat=True)))["backbone"] == {
        "part": "net",
        "depth": 18,
        "widths": (8, 16),
        "block": {"part": "block", "rate": 0.0},
        "extra": None,
    }
    with pytest.raises(ValueError, match=r"Net: act is <.*>, which no config can hold"):
        as_values(Model(Net(act=nn.gelu)))


def test_a_completed_config_holds_every_default():
    values = {"task": "a", "model": {"backbone": {"part": "other"}, "losses": [{"part": "smooth"}]}}
    assert completed(Whole, values) == {
        "task": "a",
        "model": {
            "backbone": {"part": "other", "size": "tiny"},
            "neck": None,
            "heads": {},
            "losses": ({"part": "smooth", "beta": 1.0},),
        },
        "optimizer": {"part": "sgd", "learning_rate": 0.1},
        "dataset": {},
    }


@pytest.fixture
def load(tmp_path, monkeypatch) -> Callable[..., ConfigDict]:
    """Reads a config file of `Whole` and a command line."""
    monkeypatch.setattr(config_file, "experiment_class", lambda config: SimpleNamespace(Settings=Whole))
    monkeypatch.setattr(config_file, "check_config", lambda config, file: _check(config, file))

    def run(*overrides: str, lines: str = "") -> ConfigDict:
        path = tmp_path / "mine.py"
        path.write_text(
            "from ml_collections import ConfigDict\nfrom wbcjax.settings.parts import part\ndef get_config():\n"
            "    c = ConfigDict({'task': 'detection', 'model': {'heads': {}}})\n"
            f"    c.model.backbone = part('net', depth=18)\n    {lines}\n    return c\n"
        )
        return config_file.load_config_file(str(path), overrides)

    return run


def _check(config: ConfigDict, file: str | Path) -> None:
    if found := problems(Whole, config.to_dict(), "config"):
        raise ConfigError("; ".join(found))


B = "--config.model.backbone"


def test_a_part_is_named_before_its_arguments_wherever_on_the_line(load):
    for line in ([f"{B}.size=small", f"{B}.part={HERE}:OtherNet"], [f"{B}.part=other", f"{B}.size=small"]):
        backbone = load(*line).model.backbone.to_dict()
        assert backbone == {"part": line[0 if "part" in line[0] else 1].partition("=")[2], "size": "small"}


def test_arguments_are_kept_for_the_same_class_and_dropped_for_another(load):
    assert load(f"{B}.part={HERE}:Net").model.backbone.depth == 18
    assert load(f"{B}.part=other").model.backbone.to_dict() == {"part": "other", "size": "tiny"}
    assert load(f"{B}.part=other", f"{B}.part=net").model.backbone.depth == 50


def test_arguments_are_read_by_their_types(load):
    model = load(f"{B}.widths=(3,)", f"{B}.block.rate=1", f"{B}.extra=7", "--config.optimizer.learning_rate=1").model
    assert model.backbone.widths == (3,)
    assert (model.backbone.block.part, model.backbone.block.rate) == ("block", 1.0)
    assert isinstance(model.backbone.block.rate, float)
    assert model.backbone.extra == 7


def test_a_part_among_others_by_name_is_made_on_the_line(load):
    heads = load("--config.model.heads.a.channels=3", "--config.model.heads.a.part=head").model.heads
    assert heads.to_dict() == {"a": {"part": "head", "channels": 3, "maybe": None}}
    assert load("--config.model.neck.part=other").model.neck.size == "tiny"
    lines = "c.model.neck = part('net')"
    assert load("--config.model.neck=None", lines=lines).model.neck is None
    assert load("--config.model.neck.part=other", lines=lines).model.neck.to_dict() == {"part": "other", "size": "tiny"}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            [f"{B}=my_lab.a:B"],
            "is a part: name its class, as --config.model.backbone.part=my_lab.a:B",
        ),
        ([f"{B}.part"], "config.model.backbone.part is given no value: give --config.model.backbone.part=VALUE"),
        ([f"{B}.part=lab_none:A", f"{B}.size=1"], "config.model.backbone.part is 'lab_none:A': there is no module"),
        ([f"{B}.part=other", f"{B}.depth=18"], "config.model.backbone.depth is unknown. other has: part, size"),
        ([f"{B}.deptt=18"], "config.model.backbone.deptt is unknown: did you mean config.model.backbone.depth?"),
        ([f"{B}.dtype=bfloat16"], "config.model.backbone.dtype is unknown"),
        (["--config.model.heads.a.channels=3"], "config.model.heads.a.part is missing: give one of 'head', or a path"),
        (["--config.model.part=net"], "config.model.part is unknown"),
        (["--config.dataset.part=net", "--config.a=1"], "config.a is unknown"),
    ],
)
def test_a_command_line_that_no_part_takes_is_refused_in_a_line(load, overrides, line):
    with pytest.raises(ConfigError) as said:
        load(*overrides)
    assert line in str(said.value)
    assert "\n" not in str(said.value)


def test_paths_from_outside_are_found_wherever_they_are():
    config = ConfigDict({"task": "my_lab.task:Task", "dataset": {"name": "my_lab.read:read", "classes": ("a:b",)}})
    config.model = {"a": part("wbcjax.x:Y", b=part("x:Y", part_of="a:b")), "c": (part("z:Z"), part("resnet"))}
    found = {
        "config.task": "my_lab.task:Task",
        "config.dataset.name": "my_lab.read:read",
        "config.model.a.b.part": "x:Y",
        "config.model.c[0].part": "z:Z",
    }
    assert outside(config) == found
    assert outside(config.to_dict()) == found
    assert outside({"task": "detection", "dataset": "what"}) == {}
    assert outside({"a": {"part": "wbcjax_evil:A"}}) == {"config.a.part": "wbcjax_evil:A"}
    assert outside({"a": {"part": "optax_evil:A"}}) == {"config.a.part": "optax_evil:A"}


def test_optimizers_of_optax_count_as_inside():
    assert outside({"train": {"optimizer": part("optax:lion"), "other": part("optax.contrib:muon")}}) == {}


def test_a_strangers_run_is_refused_unless_it_is_trusted():
    values = {"model": {"backbone": part("my_lab.convnext:ConvNeXt")}}
    check_trusted(values, "runs/a", trust_parts=True)
    check_trusted(values, "runs/a", trust_parts={"my_lab.convnext:ConvNeXt"})
    check_trusted({"model": {"backbone": part("wbcjax.models.resnet:ResNet")}}, "runs/a", trust_parts=False)
    with pytest.raises(Untrusted, match="my_lab"):
        check_trusted(values, "runs/a", trust_parts={"my_lab.convnext:Other"})
    with pytest.raises(Untrusted) as said:
        check_trusted(values, "runs/a", trust_parts=False)
    assert str(said.value) == (
        "runs/a uses parts from outside of wbcjax: config.model.backbone.part is 'my_lab.convnext:ConvNeXt': if you "
        "trust it, give --trust-parts (trust_parts=True in Python, --config.init_trust_parts=True for config.init_from)"
    )
