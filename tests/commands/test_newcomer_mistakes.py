"""Mistakes of the first hour, through the real command line: each is told in a line, by name and with its remedy."""

import shlex

import pytest

from tests.input.sets import write_via_set
from wbcjax import cli

MISTAKES = {
    "train --config smear_demo": "wbcjax train: the following arguments are required: --workdir (wbcjax train --help",
    "trian --config smear_demo": "wbcjax: argument COMMAND: invalid choice: 'trian': did you mean train? (wbcjax --hel",
    "train --config smear_dmo --workdir W": "wbcjax: --config=smear_dmo: smear_dmo does not exist: did you mean smea",
    "train --config segpc_nucleus:r18 --workdir W": "there are no variants of this config: give --config=segpc_nucl",
    "train --config smear_demo --workdir W --workdri=x": "--workdri=x: did you mean --workdir?",
    "train --config smear_demo --workdir W --config.train.bath_size=4": "bath_size is unknown: did you mean config.t",
    "train --config smear_demo --workdir W --config.train.batch_size=many": "is 'many': give a whole number of at le",
    "train --config smear_demo --workdir W config.train.steps=3": "settings are given as --config.a.b=c",
    "train --config segpc_mask_rcnn --workdir W --config.dataset.images=nowhere": "config.dataset.images is 'nowhere",
    "evaluate --workdir W": "W/config.json does not exist: give the workdir of a training run, or an exported model",
    "evaluate --workdir W --split tset": "argument --split: invalid choice: 'tset': did you mean test?",
    "predict W images --out found": "W/config.json does not exist: give the workdir of a training run, or an exporte",
    "inspect via.jsn images": "via.jsn: cannot be read (No such file or directory); correct the path",
    "inspect images via.json": "the image folder via.json is not a folder; correct its path",
    "inspect via.json nowhere": "the image folder nowhere is not a folder; correct its path",
    "inspect via.json images --format labelm": "invalid choice: 'labelm': did you mean labelme?",
    "inspect via.json images --leave-out L9": "there is no class 'L9' to leave out; there are ('blast', 'other')",
    "inspect via.json images --write via.json": "via.json: there is such a file already: name a new one",
    "inspect via.json images --out images": "--out leads to images, where the images lie: choose another folder",
    "enhance images --method clah --out e": "argument --method: invalid choice: 'clah': did you mean clahe?",
    "enhance empty --out e": "empty: no image there; give one, or a folder with .bmp,",
    "export empty --out x": "empty/config.json does not exist: give the workdir of a training run",
    "weights show notes.txt": "notes.txt: no weights file (it begins b'hello'); expected .pth,",
    "config smear": "smear does not exist: did you mean smear_demo?",
    "plan --config smear_demo --hardware h10": "argument --hardware: invalid choice: 'h10': did you mean h100?",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first_hour")
    write_via_set(folder, cells=[2, 1])
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("hello")
    return folder


@pytest.mark.parametrize(("line", "told"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_told_by_name_with_its_remedy(folder, monkeypatch, capsys, line, told):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        cli.main(shlex.split(line))
    printed = capsys.readouterr()
    said = printed.err if isinstance(stop.value.code, int) else f"{stop.value.code}"
    assert stop.value.code != 0
    assert told in said
    assert "Traceback" not in said
    assert printed.out == ""
    assert sorted(folder.rglob("*")) == before, "nothing is left behind"
